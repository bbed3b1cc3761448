output "raw_bucket" {
  description = "Name of the bucket of the raw zone."
  value       = aws_s3_bucket.this["raw"].bucket
}

output "processed_bucket" {
  description = "Name of the bucket of the processed zone."
  value       = aws_s3_bucket.this["processed"].bucket
}

output "transforms_bucket" {
  description = "Name of the bucket that components are deployed to; null if there is none."
  value       = one([for zone, bucket in aws_s3_bucket.this : bucket.bucket if zone == "transforms"])
}

output "raw_url" {
  description = "The raw zone as the host names it (setting `raw`)."
  value       = "s3://${aws_s3_bucket.this["raw"].bucket}"
}

output "processed_url" {
  description = "The processed zone as the host names it (setting `processed`)."
  value       = "s3://${aws_s3_bucket.this["processed"].bucket}"
}

output "abort_uploads_days" {
  description = "Days after which incomplete uploads are aborted; null: never."
  value       = local.abort_days
}

output "transforms_url" {
  description = "Where components are deployed to, as the host names it (setting `transforms`); null if there is no bucket."
  value       = one([for zone, bucket in aws_s3_bucket.this : "s3://${bucket.bucket}/transforms" if zone == "transforms"])
}
