variable "mode" {
  description = "Where events come from: `existing` brokers, or a cluster that is made here, `serverless` (MSK Serverless) or `provisioned` (MSK)."
  type        = string
  default     = "existing"

  validation {
    condition     = contains(["existing", "serverless", "provisioned"], var.mode)
    error_message = "mode must be existing, serverless or provisioned."
  }
}

variable "name" {
  description = "Name of the cluster that is made, and of what belongs to it."
  type        = string
  default     = "tidemill"

  validation {
    condition     = can(regex("^[a-zA-Z0-9][a-zA-Z0-9-]{0,47}$", var.name))
    error_message = "name must be 1 to 48 letters, digits and '-'."
  }
}

variable "existing" {
  description = <<-EOT
    With mode `existing`: the `brokers` to ask first (`host:port`), and how the host shows who it is.
    `auth` is `properties` (of librdkafka, for SASL and TLS) or `msk-iam`, which needs the `cluster_arn`.
    `security_group_id`, if given, is the brokers': the host is let in there.
  EOT
  type = object({
    brokers           = list(string)
    auth              = optional(string, "properties")
    cluster_arn       = optional(string)
    security_group_id = optional(string)
  })
  default = null

  validation {
    condition     = (var.mode == "existing") == (var.existing != null)
    error_message = "existing must be given with mode existing, and with no other."
  }

  validation {
    condition     = var.existing == null || try(length(var.existing.brokers) > 0 && alltrue([for broker in var.existing.brokers : can(regex("^[^,: ]+:[0-9]{1,5}$", broker))]), false)
    error_message = "existing.brokers must be at least one host:port."
  }

  validation {
    condition     = var.existing == null || try(contains(["properties", "msk-iam"], var.existing.auth), false)
    error_message = "existing.auth must be properties or msk-iam."
  }

  validation {
    condition     = var.existing == null || try(var.existing.auth != "msk-iam" || can(regex("^arn:[a-z-]+:kafka:[a-z0-9-]+:[0-9]{12}:cluster/[^/]+/[^/]+$", var.existing.cluster_arn)), false)
    error_message = "existing.cluster_arn must be the ARN of the MSK cluster (arn:aws:kafka:region:account:cluster/name/id) when auth is msk-iam: the host's rights name it."
  }
}

variable "vpc_id" {
  description = "VPC of the cluster that is made."
  type        = string
  default     = null

  validation {
    condition     = var.mode == "existing" || var.vpc_id != null
    error_message = "vpc_id must be given when a cluster is made."
  }
}

variable "subnet_ids" {
  description = "Subnets of the cluster that is made, each in another availability zone."
  type        = list(string)
  default     = []

  validation {
    condition     = var.mode == "existing" || length(var.subnet_ids) >= 2
    error_message = "subnet_ids must be at least two subnets when a cluster is made."
  }
}

variable "partitions" {
  description = "Partitions of a topic that is made by its first use (mode provisioned)."
  type        = number
  default     = 3

  validation {
    condition     = var.partitions >= 1
    error_message = "partitions must be at least 1."
  }
}

variable "retention_days" {
  description = "Days that Kafka keeps events; null: for ever. With mode provisioned the brokers are told; elsewhere it is what you set at the topic."
  type        = number
  default     = 7

  validation {
    condition     = var.retention_days == null || coalesce(var.retention_days, 0) >= 1
    error_message = "retention_days must be at least 1, or null."
  }
}

variable "provisioned" {
  description = "With mode provisioned: version of Kafka, type and number of brokers (a multiple of the subnets), and GiB of storage of each."
  type = object({
    kafka_version = optional(string, "3.8.x")
    instance_type = optional(string, "kafka.t3.small")
    brokers       = optional(number)
    storage_gib   = optional(number, 100)
  })
  default = {}

  validation {
    condition     = var.provisioned.brokers == null || try(var.provisioned.brokers % length(var.subnet_ids) == 0, false)
    error_message = "provisioned.brokers must be a multiple of the number of subnet_ids."
  }

  validation {
    condition     = var.provisioned.storage_gib >= 1 && var.provisioned.storage_gib <= 16384
    error_message = "provisioned.storage_gib must be 1 to 16384."
  }
}

variable "kms_key_arn" {
  description = "ARN of the KMS key that encrypts the brokers' disks (mode provisioned); null: the key that AWS keeps for MSK."
  type        = string
  default     = null
}

variable "tags" {
  description = "Tags of everything that can have some."
  type        = map(string)
  default     = {}
}
