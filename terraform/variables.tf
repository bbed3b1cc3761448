variable "name" {
  description = "Name of the service, its alarms, its log group and its dashboard; of the MSK cluster, too, if one is made."
  type        = string
  default     = "tidemill"
}

variable "image" {
  description = "Image of the host, with a tag or, better, a digest."
  type        = string
}

variable "vpc_id" {
  description = "VPC of the hosts, and of the MSK cluster if one is made."
  type        = string
}

variable "subnet_ids" {
  description = "Subnets of the hosts and of the MSK cluster, in two availability zones or more. They must reach the brokers, S3, Glue, CloudWatch Logs and the image."
  type        = list(string)
}

variable "kafka" {
  description = <<-EOT
    Where events come from. `mode` is `existing` (with `existing.brokers`), `serverless` (MSK Serverless is made) or `provisioned` (MSK is made).
    `partitions` and `retention_days` (null: for ever) are those of the topic, wherever it is.
  EOT
  type = object({
    mode           = optional(string, "existing")
    topic          = optional(string, "user-events")
    partitions     = optional(number, 3)
    retention_days = optional(number, 7)
    existing = optional(object({
      brokers           = list(string)
      auth              = optional(string, "properties")
      cluster_arn       = optional(string)
      security_group_id = optional(string)
    }))
    provisioned = optional(object({
      kafka_version = optional(string, "3.8.x")
      instance_type = optional(string, "kafka.t3.small")
      brokers       = optional(number)
      storage_gib   = optional(number, 100)
    }), {})
  })
}

variable "group" {
  description = "Consumer group of the hosts, and the name of the pipeline: it is part of where the commit log lies, so it stays."
  type        = string
  default     = "tidemill"
}

variable "lake" {
  description = <<-EOT
    The buckets. `processed_tables` are those whose files expire; `expire_days` is the backstop behind the host's own retention (null: never).
    `force_destroy` lets `terraform destroy` delete the buckets with the data in them.
  EOT
  type = object({
    raw_bucket         = optional(string, "user-events-raw")
    processed_bucket   = optional(string, "user-events-processed")
    transforms_bucket  = optional(string, "user-events-transforms")
    processed_tables   = optional(set(string))
    retention_days     = optional(number, 90)
    expire_days        = optional(number, 104)
    abort_uploads_days = optional(number)
    versioning         = optional(bool, false)
    kms_key_arn        = optional(string)
    force_destroy      = optional(bool, false)
  })
  default = {}
}

variable "catalog" {
  description = "The Glue database, and a workgroup of Athena if `athena` is given."
  type = object({
    database = optional(string, "user_analytics_db")
    athena = optional(object({
      workgroup      = optional(string, "tidemill")
      results        = string
      scan_limit_gib = optional(number, 100)
    }))
  })
  default = {}
}

variable "hosts" {
  description = "Size and number of the hosts: see the module runtime (`cpu`, `memory_mib`, `architecture`, `hosts`)."
  type = object({
    cpu              = optional(number, 512)
    memory_mib       = optional(number, 1024)
    architecture     = optional(string, "X86_64")
    min              = optional(number, 2)
    max              = optional(number)
    lag_of_each      = optional(number, 100000)
    assign_public_ip = optional(bool, false)
  })
  default = {}
}

variable "settings" {
  description = "Settings of the host: the time between commits, the number of commit logs, properties for librdkafka, further environment variables, and secrets by ARN."
  type = object({
    commit_interval = optional(string, "5s")
    logs            = optional(number, 1)
    librdkafka      = optional(map(string), {})
    environment     = optional(map(string), {})
    secrets         = optional(map(string), {})
  })
  default = {}
}

variable "trusted" {
  description = "Which components hosts take: those with one of these SHA-256 `digests`, or signed with one of these ed25519 `keys`. With neither, whatever lies in the bucket of transforms: then who may write there may change the data."
  type = object({
    digests = optional(list(string), [])
    keys    = optional(list(string), [])
  })
  default = {}
}

variable "http" {
  description = "Serve dashboard and metrics to these networks, for who has the token that lies in this secret; null: to nobody."
  type = object({
    token_arn = string
    cidrs     = list(string)
  })
  default = null
}

variable "alarms" {
  description = "When alarms fire, and who hears of it: `topic_arn` of an SNS topic, or `emails`."
  type = object({
    topic_arn         = optional(string)
    emails            = optional(set(string), [])
    freshness_seconds = optional(number, 10)
    lag               = optional(number, 1000000)
    reject_percent    = optional(number, 5)
    waiting_seconds   = optional(number, 60)
  })
  default = {}
}

variable "log_retention_days" {
  description = "Days that logs are kept."
  type        = number
  default     = 90
}

variable "cluster_arn" {
  description = "ARN of the ECS cluster to run in; null makes one."
  type        = string
  default     = null
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
