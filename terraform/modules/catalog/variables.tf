variable "database" {
  description = "Name of the Glue database."
  type        = string
  default     = "user_analytics_db"

  validation {
    condition     = can(regex("^[a-z0-9_]{1,255}$", var.database))
    error_message = "database must be 1 to 255 of a-z, 0-9 and '_': what else Glue takes, Athena does not."
  }
}

variable "athena" {
  description = <<-EOT
    A workgroup of Athena for this database, with a saved query for each additive table; null: none.
    `workgroup` is its name, `results` where results are written (`s3://bucket/prefix`), and `scan_limit_gib` what one query may read at most.
  EOT
  type = object({
    workgroup      = optional(string, "tidemill")
    results        = string
    scan_limit_gib = optional(number, 100)
  })
  default = null

  validation {
    condition     = var.athena == null || can(regex("^s3://[a-z0-9][a-z0-9.-]+[a-z0-9]/[^/]", var.athena.results))
    error_message = "athena.results must be s3://bucket/prefix; the prefix keeps results out of the tables."
  }

  validation {
    condition     = var.athena == null || try(var.athena.scan_limit_gib >= 1, false)
    error_message = "athena.scan_limit_gib must be at least 1."
  }
}

variable "additive_tables" {
  description = "Tables whose rows are increments: readers sum `sums` by `keys`. Each gets a saved query that makes the view `<table>_sums`."
  type = map(object({
    keys = list(string)
    sums = list(string)
  }))
  default = {
    active_users              = { keys = ["window_start", "period"], sums = ["events", "users", "sessions"] }
    user_activity_per_minute  = { keys = ["window_start", "event_type", "device"], sums = ["events", "users", "sessions"] }
    user_locations_per_minute = { keys = ["window_start", "location"], sums = ["events"] }
    user_pages_per_minute     = { keys = ["window_start", "page"], sums = ["events"] }
  }

  validation {
    condition = alltrue([
      for table, columns in var.additive_tables : length(columns.keys) > 0 && length(columns.sums) > 0 && alltrue([
        for name in concat([table], columns.keys, columns.sums) : can(regex("^[a-z][a-z0-9_]{0,63}$", name))
      ])
    ])
    error_message = "additive_tables must name tables and columns as Tidemill does (a-z, then a-z, 0-9 and '_'), with at least one key and one sum each."
  }
}

variable "tags" {
  description = "Tags of everything that can have some."
  type        = map(string)
  default     = {}
}
