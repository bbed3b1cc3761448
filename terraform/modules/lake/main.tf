# Two buckets for the zones of the lake, and one for the components that make the processed tables.

locals {
  buckets = merge(
    { raw = var.raw_bucket, processed = var.processed_bucket },
    var.transforms_bucket == null ? {} : { transforms = var.transforms_bucket },
  )

  # Files of tables expire; `_tidemill/` never does: the commit log is the truth, and its slots are never deleted.
  # So each rule has the prefix of a table, and no rule speaks of a whole bucket but that on uploads.
  expired = {
    raw        = var.raw_tables
    processed  = var.processed_tables
    transforms = toset([])
  }

  # Rule F6 of the commit protocol: no sooner than Kafka's retention. Nothing is needed for transforms: a component
  # is small and is put in one request.
  abort_days = var.abort_uploads_days != null ? var.abort_uploads_days : (
    var.kafka_retention_days == null ? null : var.kafka_retention_days + 1
  )

  versioned = {
    raw        = var.versioning
    processed  = var.versioning
    transforms = true # a component that was overwritten can be put back
  }

  # S3 refuses a configuration without rules.
  with_lifecycle = { for zone, bucket in local.buckets : zone => bucket if zone == "transforms"
    || local.abort_days != null || local.versioned[zone] || (var.expire_days != null && length(local.expired[zone]) > 0)
  }
}

resource "aws_s3_bucket" "this" {
  for_each = local.buckets

  bucket        = each.value
  force_destroy = var.force_destroy
  tags          = var.tags
}

resource "aws_s3_bucket_ownership_controls" "this" {
  for_each = local.buckets

  bucket = aws_s3_bucket.this[each.key].id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_public_access_block" "this" {
  for_each = local.buckets

  bucket                  = aws_s3_bucket.this[each.key].id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_server_side_encryption_configuration" "this" {
  for_each = local.buckets

  bucket = aws_s3_bucket.this[each.key].id

  rule {
    bucket_key_enabled = var.kms_key_arn != null

    apply_server_side_encryption_by_default {
      sse_algorithm     = var.kms_key_arn == null ? "AES256" : "aws:kms"
      kms_master_key_id = var.kms_key_arn
    }
  }
}

# A bucket that never had versions cannot be told to have none.
resource "aws_s3_bucket_versioning" "this" {
  for_each = { for zone, bucket in local.buckets : zone => bucket if local.versioned[zone] }

  bucket = aws_s3_bucket.this[each.key].id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "this" {
  for_each = local.with_lifecycle

  bucket = aws_s3_bucket.this[each.key].id

  dynamic "rule" {
    for_each = var.expire_days == null ? [] : sort(local.expired[each.key])

    content {
      id     = "expire-${rule.value}"
      status = "Enabled"

      filter {
        prefix = "${rule.value}/"
      }

      expiration {
        days = var.expire_days
      }
    }
  }

  dynamic "rule" {
    for_each = each.key == "transforms" || local.abort_days == null ? [] : [local.abort_days]

    content {
      id     = "abort-incomplete-uploads"
      status = "Enabled"

      filter {
        prefix = ""
      }

      abort_incomplete_multipart_upload {
        days_after_initiation = rule.value
      }
    }
  }

  dynamic "rule" {
    for_each = local.versioned[each.key] ? [each.key == "transforms" ? 90 : 1] : []

    content {
      id     = "expire-old-versions"
      status = "Enabled"

      filter {
        prefix = ""
      }

      noncurrent_version_expiration {
        noncurrent_days = rule.value
      }

      expiration {
        expired_object_delete_marker = true
      }
    }
  }

  depends_on = [aws_s3_bucket_versioning.this]
}

data "aws_partition" "current" {}

resource "aws_s3_bucket_policy" "this" {
  for_each = local.buckets

  bucket = aws_s3_bucket.this[each.key].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      for sid, condition in {
        OnlyTls   = { Bool = { "aws:SecureTransport" = "false" } }
        OnlyTls12 = { NumericLessThan = { "s3:TlsVersion" = "1.2" } }
        } : {
        Sid       = sid
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:*"
        Resource = [
          "arn:${data.aws_partition.current.partition}:s3:::${each.value}",
          "arn:${data.aws_partition.current.partition}:s3:::${each.value}/*",
        ]
        Condition = condition
      }
    ]
  })

  # S3 takes one change of a bucket's access at a time.
  depends_on = [aws_s3_bucket_public_access_block.this]
}
