output "cluster_name" {
  description = "Name of the ECS cluster."
  value       = local.cluster_name
}

output "service_name" {
  description = "Name of the ECS service."
  value       = aws_ecs_service.this.name
}

output "task_definition_arn" {
  description = "ARN of the task definition, with its revision."
  value       = aws_ecs_task_definition.this.arn
}

output "environment" {
  description = "Environment variables of the container, without secrets: what `tidemill doctor` and the others need to be run with."
  value       = local.environment
}

output "task_role_arn" {
  description = "ARN of the role that hosts have."
  value       = aws_iam_role.task.arn
}

output "task_role_name" {
  description = "Name of that role."
  value       = aws_iam_role.task.name
}

output "operator_policy_arn" {
  description = "ARN of the policy for people who run `tidemill doctor`, `verify`, `gc`, `rejects` …"
  value       = aws_iam_policy.operator.arn
}

output "security_group_id" {
  description = "Security group of the hosts; the brokers must let it in."
  value       = aws_security_group.this.id
}

output "log_group_name" {
  description = "Name of the log group."
  value       = aws_cloudwatch_log_group.this.name
}

output "metric_namespace" {
  description = "Namespace of the metrics in CloudWatch."
  value       = local.namespace
}

output "alarm_names" {
  description = "Names of the alarms."
  value       = sort(concat([for alarm in aws_cloudwatch_metric_alarm.this : alarm.alarm_name], [aws_cloudwatch_metric_alarm.rejects.alarm_name]))
}

output "alarm_topic_arn" {
  description = "ARN of the SNS topic that hears of alarms; null if there is none."
  value       = local.topic_arn
}

output "dashboard_name" {
  description = "Name of the dashboard in CloudWatch."
  value       = aws_cloudwatch_dashboard.this.dashboard_name
}
