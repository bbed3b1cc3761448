# The buckets: what expires and what never does, and what is refused.

mock_provider "aws" {
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
}

run "defaults" {
  command = plan

  module {
    source = "./modules/lake"
  }

  assert {
    condition     = sort([for bucket in aws_s3_bucket.this : bucket.bucket]) == tolist(["user-events-processed", "user-events-raw", "user-events-transforms"])
    error_message = "the buckets must have the names of the reference deployment"
  }

  assert {
    condition     = alltrue([for bucket in aws_s3_bucket.this : bucket.force_destroy == false])
    error_message = "data must survive a destroy unless somebody says otherwise"
  }

  # The commit log lies under _tidemill/: a rule that expires must have the prefix of a table, a whole folder.
  assert {
    condition = alltrue(flatten([
      for configuration in aws_s3_bucket_lifecycle_configuration.this : [
        for rule in configuration.rule : can(regex("^[a-z][a-z0-9_]*/$", rule.filter[0].prefix)) && !startswith("_tidemill/", rule.filter[0].prefix)
        if !contains(["abort-incomplete-uploads", "expire-old-versions"], rule.id)
      ]
    ]))
    error_message = "a rule that expires objects must have the prefix of a table: it would take the commit log"
  }

  assert {
    condition = jsonencode({
      for zone, configuration in aws_s3_bucket_lifecycle_configuration.this : zone => sort([
        for rule in configuration.rule : "${rule.filter[0].prefix} ${rule.expiration[0].days}" if !contains(["abort-incomplete-uploads", "expire-old-versions"], rule.id)
      ])
      }) == jsonencode({
      raw = ["user_events_raw/ 104"]
      processed = [
        "active_users/ 104", "rejected_events/ 104", "user_activity_per_minute/ 104", "user_events/ 104",
        "user_locations_per_minute/ 104", "user_pages_per_minute/ 104", "user_sessions/ 104",
      ]
      transforms = []
    })
    error_message = "each table must expire after 104 days, two weeks behind the host's own 90"
  }

  assert {
    condition = alltrue([
      for zone in ["raw", "processed"] : jsonencode([
        for rule in aws_s3_bucket_lifecycle_configuration.this[zone].rule : rule.abort_incomplete_multipart_upload[0].days_after_initiation
        if length(rule.abort_incomplete_multipart_upload) > 0
      ]) == "[8]"
    ])
    error_message = "uploads must be aborted a day after Kafka's retention (7 days), once in each zone"
  }

  assert {
    condition     = jsonencode(keys(aws_s3_bucket_versioning.this)) == jsonencode(["transforms"])
    error_message = "only the bucket of transforms has versions: what retention and erasure remove must be gone"
  }

  assert {
    condition = alltrue([
      for block in aws_s3_bucket_public_access_block.this :
      block.block_public_acls && block.block_public_policy && block.ignore_public_acls && block.restrict_public_buckets
    ]) && length(aws_s3_bucket_public_access_block.this) == 3
    error_message = "nothing may be public"
  }

  assert {
    condition = alltrue([
      for encryption in aws_s3_bucket_server_side_encryption_configuration.this :
      alltrue([for rule in encryption.rule : rule.apply_server_side_encryption_by_default[0].sse_algorithm == "AES256"])
    ])
    error_message = "buckets must be encrypted"
  }

  assert {
    condition = alltrue([
      for zone, policy in aws_s3_bucket_policy.this : anytrue([
        for statement in jsondecode(policy.policy).Statement :
        statement.Effect == "Deny" && statement.Action == "s3:*" && try(statement.Condition.Bool["aws:SecureTransport"], "") == "false" && length(statement.Resource) == 2
      ])
    ])
    error_message = "requests without TLS must be refused"
  }
}

run "what_is_given_is_taken" {
  command = plan

  module {
    source = "./modules/lake"
  }

  variables {
    raw_bucket           = "a-raw"
    processed_bucket     = "a-processed"
    transforms_bucket    = null
    kafka_retention_days = 30
    abort_uploads_days   = 30
    expire_days          = null
    versioning           = true
    kms_key_arn          = "arn:aws:kms:eu-west-1:123456789012:key/4d1f2a3b"
  }

  assert {
    condition     = length(aws_s3_bucket.this) == 2 && output.transforms_bucket == null && output.transforms_url == null
    error_message = "no bucket of transforms was wanted"
  }

  assert {
    condition     = output.abort_uploads_days == 30
    error_message = "as long as Kafka's retention is long enough"
  }

  assert {
    condition = alltrue(flatten([
      for configuration in aws_s3_bucket_lifecycle_configuration.this : [for rule in configuration.rule : contains(["abort-incomplete-uploads", "expire-old-versions"], rule.id)]
    ]))
    error_message = "nothing was to expire"
  }

  assert {
    condition     = alltrue([for encryption in aws_s3_bucket_server_side_encryption_configuration.this : alltrue([for rule in encryption.rule : rule.bucket_key_enabled && rule.apply_server_side_encryption_by_default[0].sse_algorithm == "aws:kms"])])
    error_message = "the key that was given must be used, and one request to KMS must serve many files"
  }

  assert {
    condition     = jsonencode(keys(aws_s3_bucket_versioning.this)) == jsonencode(["processed", "raw"]) && alltrue([for zone, configuration in aws_s3_bucket_lifecycle_configuration.this : anytrue([for rule in configuration.rule : rule.id == "expire-old-versions"])])
    error_message = "old versions must go, else they cost for ever"
  }
}

# Kafka keeps events for ever: then there is no age at which an upload may be aborted.
run "for_ever" {
  command = plan

  module {
    source = "./modules/lake"
  }

  variables {
    kafka_retention_days = null
  }

  assert {
    condition = output.abort_uploads_days == null && alltrue(flatten([
      for configuration in aws_s3_bucket_lifecycle_configuration.this : [for rule in configuration.rule : length(rule.abort_incomplete_multipart_upload) == 0]
    ]))
    error_message = "no upload may be aborted"
  }
}

run "uploads_are_aborted_no_sooner_than_kafka_forgets" {
  command = plan

  module {
    source = "./modules/lake"
  }

  variables {
    kafka_retention_days = 14
    abort_uploads_days   = 13
  }

  expect_failures = [var.abort_uploads_days]
}

run "the_backstop_comes_after_the_host" {
  command = plan

  module {
    source = "./modules/lake"
  }

  variables {
    retention_days = 100
  }

  expect_failures = [var.expire_days]
}

run "the_log_is_no_table" {
  command = plan

  module {
    source = "./modules/lake"
  }

  variables {
    processed_tables = ["user_events", "_tidemill"]
  }

  expect_failures = [var.processed_tables]
}

run "nothing_is_no_table" {
  command = plan

  module {
    source = "./modules/lake"
  }

  variables {
    raw_tables = [""]
  }

  expect_failures = [var.raw_tables]
}

run "two_zones_are_two_buckets" {
  command = plan

  module {
    source = "./modules/lake"
  }

  variables {
    raw_bucket       = "one"
    processed_bucket = "one"
  }

  expect_failures = [var.processed_bucket]
}

run "an_alias_is_no_key" {
  command = plan

  module {
    source = "./modules/lake"
  }

  variables {
    kms_key_arn = "arn:aws:kms:eu-west-1:123456789012:alias/lake"
  }

  expect_failures = [var.kms_key_arn]
}
