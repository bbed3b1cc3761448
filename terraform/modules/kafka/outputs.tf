output "brokers" {
  description = "Brokers to ask first, `host:port,…` (setting `brokers`)."
  value = (
    var.mode == "serverless" ? aws_msk_serverless_cluster.this[0].bootstrap_brokers_sasl_iam :
    var.mode == "provisioned" ? aws_msk_cluster.this[0].bootstrap_brokers_sasl_iam :
    join(",", var.existing.brokers)
  )
}

output "auth" {
  description = "How the host shows who it is (setting `auth`): `msk-iam` or `properties`."
  value       = local.made ? "msk-iam" : var.existing.auth
}

output "cluster_arn" {
  description = "ARN of the cluster; null when it is not MSK."
  value = (
    var.mode == "serverless" ? aws_msk_serverless_cluster.this[0].arn :
    var.mode == "provisioned" ? aws_msk_cluster.this[0].arn :
    var.existing.cluster_arn
  )
}

output "security_group_id" {
  description = "Security group of the brokers; null when it is not known."
  value       = local.made ? aws_security_group.this[0].id : var.existing.security_group_id
}

output "ports" {
  description = "Ports of the brokers that the host must reach."
  value       = local.ports
}
