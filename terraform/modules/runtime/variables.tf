variable "name" {
  description = "Name of the service and of what belongs to it."
  type        = string
  default     = "tidemill"

  validation {
    condition     = can(regex("^[a-zA-Z][a-zA-Z0-9-]{0,31}$", var.name))
    error_message = "name must be 1 to 32 letters, digits and '-', beginning with a letter."
  }
}

variable "image" {
  description = "Image of the host, with a tag or, better, a digest (`…@sha256:…`): what runs must not change by itself. Rights to pull it are given if it lies in ECR."
  type        = string

  validation {
    condition     = can(regex("^[^ ]+(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}|@sha256:[0-9a-f]{64})$", var.image)) && !endswith(var.image, ":latest")
    error_message = "image must have a tag other than latest, or a digest: a task that is started tomorrow must be of the same version as one of today."
  }
}

variable "architecture" {
  description = "Processor that the image is built for: `ARM64` or `X86_64`."
  type        = string
  default     = "X86_64"

  validation {
    condition     = contains(["ARM64", "X86_64"], var.architecture)
    error_message = "architecture must be ARM64 or X86_64."
  }
}

variable "cpu" {
  description = "CPU units of a host; 1024 is one processor. A lane is a thread, and there is a lane for each processor."
  type        = number
  default     = 512

  validation {
    condition     = contains([256, 512, 1024, 2048, 4096, 8192, 16384], var.cpu)
    error_message = "cpu must be one of Fargate's: 256, 512, 1024, 2048, 4096, 8192, 16384."
  }
}

variable "memory_mib" {
  description = "Memory of a host in MiB."
  type        = number
  default     = 1024

  validation {
    # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-cpu-memory-error.html
    condition = (
      contains([512, 1024, 2048], var.memory_mib) && var.cpu == 256 ||
      contains(range(1024, 4097, 1024), var.memory_mib) && var.cpu == 512 ||
      contains(range(2048, 8193, 1024), var.memory_mib) && var.cpu == 1024 ||
      contains(range(4096, 16385, 1024), var.memory_mib) && var.cpu == 2048 ||
      contains(range(8192, 30721, 1024), var.memory_mib) && var.cpu == 4096 ||
      contains(range(16384, 61441, 4096), var.memory_mib) && var.cpu == 8192 ||
      contains(range(32768, 122881, 8192), var.memory_mib) && var.cpu == 16384
    )
    error_message = "memory_mib does not go with cpu: Fargate has 256 CPU units with 512, 1024 or 2048 MiB, 512 with 1024 to 4096, 1024 with 2048 to 8192, 2048 with 4096 to 16384, 4096 with 8192 to 30720, in steps of 1024."
  }
}

variable "buffer" {
  description = "Memory for rows that are being encoded (setting `memory`); null: a quarter of `memory_mib`. The process takes more: transforms, states, and what Kafka's client has fetched."
  type        = string
  default     = null

  validation {
    condition     = var.buffer == null || can(regex("^[1-9][0-9]*(MiB|GiB)$", var.buffer))
    error_message = "buffer must be a size such as 256MiB."
  }
}

variable "hosts" {
  description = "How many hosts: at least `min`, at most `max` (null: one for each partition; more would be idle), and the events each may have left to commit before there are more of them."
  type = object({
    min         = optional(number, 2)
    max         = optional(number)
    lag_of_each = optional(number, 100000)
  })
  default = {}

  validation {
    condition     = var.hosts.min >= 1 && coalesce(var.hosts.max, max(var.hosts.min, var.partitions)) >= var.hosts.min
    error_message = "hosts.min must be at least 1 and not more than hosts.max."
  }

  validation {
    condition     = var.hosts.lag_of_each > 0
    error_message = "hosts.lag_of_each must be more than 0."
  }
}

variable "partitions" {
  description = "Partitions of the topic: the most hosts that have something to do."
  type        = number
  default     = 3

  validation {
    condition     = var.partitions >= 1
    error_message = "partitions must be at least 1."
  }
}

variable "kafka" {
  description = "The brokers to ask first (`host:port,…`) and their ports, how the host shows who it is (`properties` or `msk-iam`), and for MSK IAM the ARN of the cluster."
  type = object({
    brokers     = string
    ports       = optional(list(string), ["9098"])
    auth        = optional(string, "properties")
    cluster_arn = optional(string)
  })

  validation {
    condition     = contains(["properties", "msk-iam"], var.kafka.auth)
    error_message = "kafka.auth must be properties or msk-iam."
  }
}

variable "topic" {
  description = "Topic to read."
  type        = string
  default     = "user-events"

  validation {
    condition     = can(regex("^[a-zA-Z0-9._-]{1,249}$", var.topic))
    error_message = "topic must be 1 to 249 letters, digits, '.', '_' and '-'."
  }
}

variable "group" {
  description = "Consumer group to join, and the name of the pipeline."
  type        = string
  default     = "tidemill"

  validation {
    condition     = can(regex("^[a-zA-Z0-9._-]{1,128}$", var.group))
    error_message = "group must be 1 to 128 letters, digits, '.', '_' and '-'."
  }
}

variable "raw" {
  description = "The raw zone, `s3://bucket` or `s3://bucket/prefix`."
  type        = string
  default     = "s3://user-events-raw"

  validation {
    condition     = can(regex("^s3://[a-z0-9][a-z0-9.-]+[a-z0-9](/[^*?]*[^*?/])?$", var.raw))
    error_message = "raw must be s3://bucket or s3://bucket/prefix, without a '/' at its end."
  }
}

variable "processed" {
  description = "The processed zone, likewise."
  type        = string
  default     = "s3://user-events-processed"

  validation {
    condition     = can(regex("^s3://[a-z0-9][a-z0-9.-]+[a-z0-9](/[^*?]*[^*?/])?$", var.processed))
    error_message = "processed must be s3://bucket or s3://bucket/prefix, without a '/' at its end."
  }
}

variable "transforms" {
  description = "Where components are read from, `s3://bucket/prefix`; null: from the directory in the image."
  type        = string
  default     = null

  validation {
    condition     = var.transforms == null || can(regex("^s3://[a-z0-9][a-z0-9.-]+[a-z0-9](/[^*?]*[^*?/])?$", var.transforms))
    error_message = "transforms must be s3://bucket or s3://bucket/prefix, without a '/' at its end, or null."
  }
}

variable "trusted" {
  description = "Which components a host takes: those with one of these SHA-256 `digests`, or signed with one of these ed25519 `keys`. With neither it takes whatever lies at `transforms`."
  type = object({
    digests = optional(list(string), [])
    keys    = optional(list(string), [])
  })
  default = {}

  validation {
    condition     = alltrue([for digest in var.trusted.digests : can(regex("^[0-9a-f]{64}$", digest))])
    error_message = "trusted.digests must be SHA-256 digests: 64 of 0-9 and a-f."
  }

  validation {
    condition     = alltrue([for key in var.trusted.keys : can(regex("^[^ ,]+$", key))])
    error_message = "trusted.keys must be public keys without commas and blanks."
  }
}

variable "database" {
  description = "Database in Glue; it must exist."
  type        = string
  default     = "user_analytics_db"

  validation {
    condition     = can(regex("^[a-z0-9_]{1,255}$", var.database))
    error_message = "database must be 1 to 255 of a-z, 0-9 and '_'."
  }
}

variable "commit_interval" {
  description = "Time between commits (setting `commit-interval`)."
  type        = string
  default     = "5s"

  validation {
    condition     = can(regex("^[1-9][0-9]*(ms|s|m)$", var.commit_interval))
    error_message = "commit_interval must be a duration such as 5s or 500ms."
  }
}

variable "logs" {
  description = "Commit logs (setting `logs`): more than one only where one does not carry all hosts. It stays as it is when the hosts first start."
  type        = number
  default     = 1

  validation {
    condition     = var.logs >= 1 && var.logs <= 256 && floor(var.logs) == var.logs
    error_message = "logs must be a whole number from 1 to 256."
  }
}

variable "librdkafka" {
  description = "Properties for librdkafka: `security.protocol`, `sasl.username` … Passwords belong into `secrets`."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for property, value in var.librdkafka : !strcontains(value, ",") && !can(regex("[,= ]", property))])
    error_message = "librdkafka must not have values with commas: the host's environment variable is divided at each."
  }

  validation {
    condition     = !anytrue([for property, value in var.librdkafka : can(regex("password|secret", property))])
    error_message = "librdkafka must not hold passwords: the task definition can be read by many. Put the whole TIDEMILL_LIBRDKAFKA into `secrets`."
  }
}

variable "environment" {
  description = "Further environment variables of the host, `TIDEMILL_MAX_EVENT_SIZE` for example. They go before what is set here."
  type        = map(string)
  default     = {}

  validation {
    condition     = !anytrue([for name, value in var.environment : can(regex("TOKEN|PASSWORD|SECRET", upper(name)))])
    error_message = "environment must not hold secrets: put them into `secrets`."
  }
}

variable "secrets" {
  description = "Environment variables whose values lie in Secrets Manager or in a parameter of Systems Manager, by ARN."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name, arn in var.secrets : can(regex("^arn:[a-z-]+:(secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:|ssm:[a-z0-9-]+:[0-9]{12}:parameter/)", arn))])
    error_message = "secrets must be ARNs of secrets in Secrets Manager or of parameters in Systems Manager."
  }
}

variable "http" {
  description = "Serve dashboard, metrics and health beyond the container, to these networks, for who has the token that lies in this secret; null: to nobody."
  type = object({
    token_arn = string
    cidrs     = list(string)
  })
  default = null

  validation {
    condition     = var.http == null || try(length(var.http.cidrs) > 0 && alltrue([for cidr in var.http.cidrs : can(cidrhost(cidr, 0))]) && !contains(var.http.cidrs, "0.0.0.0/0"), false)
    error_message = "http.cidrs must be networks of yours, such as 10.0.0.0/16: the token travels in the clear."
  }
}

variable "vpc_id" {
  description = "VPC of the hosts."
  type        = string
}

variable "subnet_ids" {
  description = "Subnets of the hosts, in two availability zones or more. They must reach the brokers, S3, Glue, CloudWatch Logs and the image: through a NAT gateway or VPC endpoints."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) >= 1
    error_message = "subnet_ids must be at least one subnet."
  }
}

variable "assign_public_ip" {
  description = "Give hosts public addresses: needed in public subnets without endpoints. Nothing comes in either way."
  type        = bool
  default     = false
}

variable "cluster_arn" {
  description = "ARN of the ECS cluster to run in; null makes one."
  type        = string
  default     = null
}

variable "kms_key_arns" {
  description = "ARNs of the KMS keys that the buckets are encrypted with, if it is not S3's own."
  type        = list(string)
  default     = []
}

variable "log_retention_days" {
  description = "Days that logs are kept."
  type        = number
  default     = 90

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "log_retention_days must be one that CloudWatch knows: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731 …"
  }
}

variable "log_kms_key_arn" {
  description = "ARN of the KMS key that encrypts the logs; null: the key that CloudWatch keeps. The key's own policy must let CloudWatch Logs use it."
  type        = string
  default     = null
}

variable "alarms" {
  description = <<-EOT
    When alarms fire, and who hears of it. `topic_arn` is an SNS topic; `emails` make one and subscribe to it. With neither the alarms show on the dashboard only.
    `freshness_seconds`: an event was older than that when readers could see it. `lag`: a host has so many events to commit. `reject_percent`: of the events of five minutes, once there are a hundred. `waiting_seconds`: an event waits so long for a commit.
  EOT
  type = object({
    topic_arn         = optional(string)
    emails            = optional(set(string), [])
    freshness_seconds = optional(number, 10)
    lag               = optional(number, 1000000)
    reject_percent    = optional(number, 5)
    waiting_seconds   = optional(number, 60)
  })
  default = {}

  validation {
    condition     = var.alarms.topic_arn == null || length(var.alarms.emails) == 0
    error_message = "alarms must have topic_arn or emails, not both: subscribe the addresses to your topic."
  }

  validation {
    condition     = min(var.alarms.freshness_seconds, var.alarms.lag, var.alarms.reject_percent, var.alarms.waiting_seconds) > 0 && var.alarms.reject_percent <= 100
    error_message = "the bounds of alarms must be more than 0, and reject_percent at most 100."
  }
}

variable "wait" {
  description = "Let `terraform apply` end when the hosts run and are healthy, and not before."
  type        = bool
  default     = true
}

variable "tags" {
  description = "Tags of everything that can have some."
  type        = map(string)
  default     = {}
}
