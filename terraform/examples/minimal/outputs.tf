output "cluster_name" {
  description = "Name of the ECS cluster (for scripts/deploy.sh)."
  value       = module.tidemill.cluster_name
}

output "service_name" {
  description = "Name of the ECS service."
  value       = module.tidemill.service_name
}

output "environment" {
  description = "Settings of the host: what `tidemill doctor` and the others need."
  value       = module.tidemill.environment
}

output "log_group_name" {
  description = "Where the host's log is."
  value       = module.tidemill.log_group_name
}
