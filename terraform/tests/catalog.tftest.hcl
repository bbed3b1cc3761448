mock_provider "aws" {}

run "defaults" {
  command = plan

  module {
    source = "./modules/catalog"
  }

  assert {
    condition     = aws_glue_catalog_database.this.name == "user_analytics_db"
    error_message = "the database of the reference deployment"
  }

  assert {
    condition     = length(aws_athena_workgroup.this) + length(aws_athena_named_query.sums) == 0
    error_message = "Athena is only there when it is asked for"
  }
}

run "athena" {
  command = plan

  module {
    source = "./modules/catalog"
  }

  variables {
    athena = { results = "s3://a-bucket/results", scan_limit_gib = 2 }
  }

  assert {
    condition = (
      aws_athena_workgroup.this[0].configuration[0].enforce_workgroup_configuration &&
      aws_athena_workgroup.this[0].configuration[0].bytes_scanned_cutoff_per_query == 2 * 1024 * 1024 * 1024 &&
      aws_athena_workgroup.this[0].configuration[0].engine_version[0].selected_engine_version == "Athena engine version 3"
    )
    error_message = "the workgroup's bounds must hold for everybody in it"
  }

  assert {
    condition     = keys(aws_athena_named_query.sums) == ["active_users", "user_activity_per_minute", "user_locations_per_minute", "user_pages_per_minute"]
    error_message = "a saved query for each additive table that ships"
  }

  assert {
    condition = aws_athena_named_query.sums["user_pages_per_minute"].query == chomp(<<-EOT
      CREATE OR REPLACE VIEW user_pages_per_minute_sums AS
      SELECT window_start, page, sum(events) AS events, "date", "hour"
      FROM user_pages_per_minute
      GROUP BY window_start, page, "date", "hour"
    EOT
    )
    error_message = "it sums the increments by their keys: ${aws_athena_named_query.sums["user_pages_per_minute"].query}"
  }
}

run "a_name_that_athena_does_not_take" {
  command = plan

  module {
    source = "./modules/catalog"
  }

  variables {
    database = "user-analytics"
  }

  expect_failures = [var.database]
}

run "results_need_a_prefix" {
  command = plan

  module {
    source = "./modules/catalog"
  }

  variables {
    athena = { results = "s3://a-bucket" }
  }

  expect_failures = [var.athena]
}

run "no_sql_in_names" {
  command = plan

  module {
    source = "./modules/catalog"
  }

  variables {
    additive_tables = { "t; DROP TABLE u" = { keys = ["a"], sums = ["b"] } }
  }

  expect_failures = [var.additive_tables]
}
