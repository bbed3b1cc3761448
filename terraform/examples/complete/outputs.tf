output "tidemill" {
  description = "What the root module tells: buckets, database, service, settings, alarms …"
  value       = module.tidemill
}
