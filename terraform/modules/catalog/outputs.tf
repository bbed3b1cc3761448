output "database" {
  description = "Name of the Glue database (setting `database`)."
  value       = aws_glue_catalog_database.this.name
}

output "workgroup" {
  description = "Name of the Athena workgroup; null if there is none."
  value       = one(aws_athena_workgroup.this[*].name)
}

output "views" {
  description = "The SQL that makes a view of each additive table, by table: for Athena, or for who has no workgroup here."
  value       = local.sums
}
