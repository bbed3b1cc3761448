# The database alone. Its tables and partitions are the host's: it makes them from what the transforms declare, adds
# columns when those do, and puts right what differs. Terraform would only take that back.
resource "aws_glue_catalog_database" "this" {
  name        = var.database
  description = "Tables that Tidemill makes"
  tags        = var.tags
}

locals {
  # A table's increments, summed. The partition keys stay, so that a query on a day reads that day only.
  sums = {
    for table, columns in var.additive_tables : table => join("\n", [
      "CREATE OR REPLACE VIEW ${table}_sums AS",
      "SELECT ${join(", ", columns.keys)}, ${join(", ", [for sum in columns.sums : "sum(${sum}) AS ${sum}"])}, \"date\", \"hour\"",
      "FROM ${table}",
      "GROUP BY ${join(", ", columns.keys)}, \"date\", \"hour\"",
    ])
  }
}

resource "aws_athena_workgroup" "this" {
  count = var.athena == null ? 0 : 1

  name          = var.athena.workgroup
  description   = "Queries of ${var.database}"
  force_destroy = true # it holds saved queries and a history, no data
  tags          = var.tags

  configuration {
    enforce_workgroup_configuration = true
    bytes_scanned_cutoff_per_query  = var.athena.scan_limit_gib * 1024 * 1024 * 1024

    engine_version {
      selected_engine_version = "Athena engine version 3"
    }

    result_configuration {
      output_location = var.athena.results

      encryption_configuration {
        encryption_option = "SSE_S3"
      }
    }
  }
}

# A view can only be made when its table is there, and tables are the host's: so these are queries to run once.
resource "aws_athena_named_query" "sums" {
  for_each = var.athena == null ? {} : local.sums

  name        = "${each.key}_sums"
  description = "Makes the view ${each.key}_sums: run it once when ${each.key} exists"
  workgroup   = aws_athena_workgroup.this[0].id
  database    = aws_glue_catalog_database.this.name
  query       = each.value
}
