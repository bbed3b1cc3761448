output "raw_url" {
  description = "The raw zone."
  value       = module.lake.raw_url
}

output "processed_url" {
  description = "The processed zone. The commit log lies in it, under `_tidemill/`."
  value       = module.lake.processed_url
}

output "transforms_url" {
  description = "Where components are deployed to (`tidemill deploy-transform`); null: they are in the image."
  value       = module.lake.transforms_url
}

output "database" {
  description = "Name of the Glue database."
  value       = module.catalog.database
}

output "workgroup" {
  description = "Name of the Athena workgroup; null if there is none."
  value       = module.catalog.workgroup
}

output "views" {
  description = "The SQL that makes a view of each additive table, by table."
  value       = module.catalog.views
}

output "brokers" {
  description = "Brokers that hosts ask first."
  value       = module.kafka.brokers
}

output "cluster_name" {
  description = "Name of the ECS cluster."
  value       = module.runtime.cluster_name
}

output "service_name" {
  description = "Name of the ECS service."
  value       = module.runtime.service_name
}

output "environment" {
  description = "Environment variables of the hosts, without secrets: what `tidemill doctor` and the others need to be run with."
  value       = module.runtime.environment
}

output "task_role_arn" {
  description = "ARN of the role that hosts have."
  value       = module.runtime.task_role_arn
}

output "operator_policy_arn" {
  description = "ARN of the policy for people who run `tidemill doctor`, `verify`, `gc`, `rejects` …"
  value       = module.runtime.operator_policy_arn
}

output "log_group_name" {
  description = "Name of the log group."
  value       = module.runtime.log_group_name
}

output "alarm_names" {
  description = "Names of the alarms."
  value       = module.runtime.alarm_names
}

output "alarm_topic_arn" {
  description = "ARN of the SNS topic that hears of alarms; null if there is none."
  value       = module.runtime.alarm_topic_arn
}

output "dashboard_name" {
  description = "Name of the dashboard in CloudWatch."
  value       = module.runtime.dashboard_name
}
