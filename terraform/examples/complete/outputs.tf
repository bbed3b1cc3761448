output "tidemill" {
  description = "What the root module tells: buckets, database, service, settings, alarms …"
  value       = module.tidemill
}

output "cluster_name" {
  description = "Name of the ECS cluster (for scripts/deploy.sh)."
  value       = module.tidemill.cluster_name
}

output "service_name" {
  description = "Name of the ECS service (for scripts/deploy.sh)."
  value       = module.tidemill.service_name
}
