variable "raw_bucket" {
  description = "Name of the bucket of the raw zone."
  type        = string
  default     = "user-events-raw"

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.raw_bucket))
    error_message = "raw_bucket must be a name for an S3 bucket: 3 to 63 of a-z, 0-9, '.' and '-'."
  }
}

variable "processed_bucket" {
  description = "Name of the bucket of the processed zone. The commit log lies in it, too."
  type        = string
  default     = "user-events-processed"

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.processed_bucket))
    error_message = "processed_bucket must be a name for an S3 bucket: 3 to 63 of a-z, 0-9, '.' and '-'."
  }

  validation {
    condition     = var.processed_bucket != var.raw_bucket
    error_message = "processed_bucket and raw_bucket must be two buckets."
  }
}

variable "transforms_bucket" {
  description = "Name of the bucket that components are deployed to; null makes none. It is a bucket of its own so that a host can read its transforms and not write them."
  type        = string
  default     = "user-events-transforms"

  validation {
    condition     = var.transforms_bucket == null || can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.transforms_bucket))
    error_message = "transforms_bucket must be a name for an S3 bucket (3 to 63 of a-z, 0-9, '.' and '-'), or null."
  }
}

variable "raw_tables" {
  description = "Tables of the raw zone whose files expire. A raw table is named after its topic: user-events makes user_events_raw."
  type        = set(string)
  default     = ["user_events_raw"]

  validation {
    condition     = alltrue([for table in var.raw_tables : can(regex("^[a-z][a-z0-9_]{0,127}$", table))])
    error_message = "raw_tables must be names of tables: a-z, then a-z, 0-9 and '_'. A prefix such as _tidemill holds the commit log, which must never expire."
  }
}

variable "processed_tables" {
  description = "Tables of the processed zone whose files expire. Tables of your own transforms belong here, too: what is not named is kept for ever."
  type        = set(string)
  default = [
    "active_users",
    "rejected_events",
    "user_activity_per_minute",
    "user_events",
    "user_locations_per_minute",
    "user_pages_per_minute",
    "user_sessions",
  ]
  nullable = false

  validation {
    condition     = alltrue([for table in var.processed_tables : can(regex("^[a-z][a-z0-9_]{0,127}$", table))])
    error_message = "processed_tables must be names of tables: a-z, then a-z, 0-9 and '_'. A prefix such as _tidemill holds the commit log, which must never expire."
  }
}

variable "retention_days" {
  description = "Days that the host itself keeps events. Its retention goes through the commit log; the bucket's own rule must come later."
  type        = number
  default     = 90

  validation {
    condition     = var.retention_days >= 1 && floor(var.retention_days) == var.retention_days
    error_message = "retention_days must be a whole number of days, at least 1."
  }
}

variable "expire_days" {
  description = "Days after which the bucket removes files of the tables, whatever the host did: a backstop. null: never."
  type        = number
  default     = 104

  validation {
    condition     = var.expire_days == null || coalesce(var.expire_days, 0) >= var.retention_days + 7
    error_message = "expire_days must be at least a week after retention_days: the bucket is a backstop behind the host, which removes files through the commit log. null switches it off."
  }
}

variable "kafka_retention_days" {
  description = "Days that Kafka keeps the topic's events, rounded up; null: for ever."
  type        = number
  default     = 7

  validation {
    condition     = var.kafka_retention_days == null || coalesce(var.kafka_retention_days, 0) >= 1
    error_message = "kafka_retention_days must be at least 1, or null when the topic keeps events for ever."
  }
}

variable "abort_uploads_days" {
  description = "Days after which the buckets abort incomplete multipart uploads; null: a day after kafka_retention_days, and never when Kafka keeps events for ever. Not sooner than Kafka's retention: such an upload may belong to a commit that is about to be published, and if it vanishes it can be made again from Kafka only."
  type        = number
  default     = null

  validation {
    condition     = var.abort_uploads_days == null || (var.kafka_retention_days != null && coalesce(var.abort_uploads_days, 0) >= coalesce(var.kafka_retention_days, 1))
    error_message = "abort_uploads_days must not be less than kafka_retention_days: a committed file whose upload was aborted can be made again from Kafka only. When Kafka keeps events for ever, leave it null."
  }
}

variable "versioning" {
  description = "Keep old versions in the raw and processed buckets. Off: what clean-up, retention and erasure remove must be gone, files are never overwritten, and each version costs as much as a file. When on, old versions go after a day."
  type        = bool
  default     = false
}

variable "kms_key_arn" {
  description = "ARN of the KMS key that encrypts the buckets; null: S3's own keys (SSE-S3)."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/", var.kms_key_arn))
    error_message = "kms_key_arn must be the ARN of a key (arn:aws:kms:…:key/…), not of an alias, or null."
  }
}

variable "force_destroy" {
  description = "Let `terraform destroy` delete the buckets with the data in them."
  type        = bool
  default     = false
}

variable "tags" {
  description = "Tags of everything that can have some."
  type        = map(string)
  default     = {}
}
