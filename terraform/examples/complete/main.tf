# All of it: a VPC of its own without a way to the internet, MSK Serverless (or your brokers), signed transforms,
# Athena, and alarms that write mails.

provider "aws" {
  region = var.region

  default_tags {
    tags = { project = var.name }
  }
}

module "tidemill" {
  source = "../.."

  name       = var.name
  group      = var.name
  image      = var.image
  vpc_id     = aws_vpc.this.id
  subnet_ids = aws_subnet.this[*].id

  kafka = {
    mode           = var.brokers == null ? "serverless" : "existing"
    existing       = var.brokers == null ? null : { brokers = var.brokers }
    topic          = var.topic
    partitions     = var.partitions
    retention_days = 7
  }

  lake = {
    raw_bucket        = "${var.prefix}-user-events-raw"
    processed_bucket  = "${var.prefix}-user-events-processed"
    transforms_bucket = "${var.prefix}-user-events-transforms"
    force_destroy     = var.force_destroy
  }

  catalog = {
    database = replace("${var.prefix}_user_analytics_db", "-", "_")
    athena   = { workgroup = var.name, results = "s3://${aws_s3_bucket.results.bucket}/results" }
  }

  hosts = {
    cpu        = 1024
    memory_mib = 2048
    min        = 2
  }

  settings = { commit_interval = "2s" }
  trusted  = { keys = var.trusted_keys }
  http     = var.dashboard ? { token_arn = aws_secretsmanager_secret.token[0].arn, cidrs = [aws_vpc.this.cidr_block] } : null
  alarms   = { emails = var.emails }
  wait     = var.wait

  # A host that comes up before its network is there fails, and the deployment with it.
  depends_on = [aws_vpc_endpoint.s3, aws_vpc_endpoint.interface]
}

# What Athena writes is no part of the lake: it goes after a week.
resource "aws_s3_bucket" "results" {
  bucket        = "${var.prefix}-user-events-athena"
  force_destroy = true
}

resource "aws_s3_bucket_public_access_block" "results" {
  bucket                  = aws_s3_bucket.results.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_lifecycle_configuration" "results" {
  bucket = aws_s3_bucket.results.id

  rule {
    id     = "expire-results"
    status = "Enabled"

    filter {
      prefix = "results/"
    }

    expiration {
      days = 7
    }
  }
}

# The dashboard's token: its value is put in by hand, so that it stands in no state.
#   aws secretsmanager put-secret-value --secret-id NAME --secret-string "$(openssl rand -hex 24)"
resource "aws_secretsmanager_secret" "token" {
  count = var.dashboard ? 1 : 0

  name_prefix             = "${var.name}-http-token-"
  description             = "Token that Tidemill's dashboard asks for"
  recovery_window_in_days = 0
}
