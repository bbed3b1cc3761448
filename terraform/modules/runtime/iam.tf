# Three sets of rights: of the host (the task role), of ECS on its behalf (the execution role), and of the people who
# run `tidemill doctor`, `verify`, `gc` … (a policy to attach to whom you like).
#
# tests/real/test_terraform.py compares the first and the last with the calls that were made: none is missing, and
# none is there that nobody makes.

locals {
  partition = data.aws_partition.current.partition
  zones = {
    for zone, url in { raw = var.raw, processed = var.processed } : zone => {
      bucket               = "arn:${local.partition}:s3:::${regex("^s3://([^/]+)", url)[0]}"
      prefix               = trimprefix(regex("^s3://[^/]+(.*)$", url)[0], "/")
    }
  }
  objects = { for zone, place in local.zones : zone => "${place.bucket}/${place.prefix == "" ? "" : "${place.prefix}/"}" }

  transforms = var.transforms == null ? null : {
    bucket = "arn:${local.partition}:s3:::${regex("^s3://([^/]+)", var.transforms)[0]}"
    prefix = trimprefix(regex("^s3://[^/]+(.*)$", var.transforms)[0], "/")
  }
  components = local.transforms == null ? null : "${local.transforms.bucket}/${local.transforms.prefix == "" ? "" : "${local.transforms.prefix}/"}"

  glue = "arn:${local.partition}:glue:${data.aws_region.current.name}:${data.aws_caller_identity.current.account_id}"
  # Glue asks for the rights on a table, and on the database and the catalog that it is in.
  tables = ["${local.glue}:catalog", "${local.glue}:database/${var.database}", "${local.glue}:table/${var.database}/*"]

  # What hosts and people do alike.
  files = {
    Sid      = "Files"
    Effect   = "Allow"
    Action   = ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:PutObject"]
    Resource = [for objects in local.objects : "${objects}*"]
  }
  get_database = {
    Sid      = "Database"
    Effect   = "Allow"
    Action   = ["glue:GetDatabase"]
    Resource = slice(local.tables, 0, 2)
  }
  write_tables = [
    "glue:BatchCreatePartition", "glue:BatchDeletePartition", "glue:BatchGetPartition", "glue:CreateTable",
    "glue:GetPartitions", "glue:GetTable", "glue:UpdatePartition", "glue:UpdateTable",
  ]

  # Listing shows names only within a zone's prefix.
  list = [
    for place in concat(values(local.zones), local.transforms == null ? [] : [local.transforms]) : merge(
      {
        Sid      = "List${md5("${place.bucket}/${place.prefix}")}"
        Effect   = "Allow"
        Action   = ["s3:ListBucket"]
        Resource = [place.bucket]
      },
      place.prefix == "" ? {} : { Condition = { StringLike = { "s3:prefix" = ["${place.prefix}", "${place.prefix}/*"] } } },
    )
  ]

  # Rule L1 of the commit protocol, kept by IAM: what stands in the log is never removed and never overwritten.
  # https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes-enforce.html
  log = "${local.objects["processed"]}_tidemill/*/log/*"
  keep_the_log = [
    {
      Sid      = "NeverDeleteTheLog"
      Effect   = "Deny"
      Action   = ["s3:DeleteObject", "s3:DeleteObjectVersion"]
      Resource = [local.log]
    },
    {
      Sid       = "NeverOverwriteTheLog"
      Effect    = "Deny"
      Action    = ["s3:PutObject"]
      Resource  = [local.log]
      Condition = { Null = { "s3:if-none-match" = "true" } }
    },
  ]

  encryption = length(var.kms_key_arns) == 0 ? [] : [{
    Sid      = "Encryption"
    Effect   = "Allow"
    Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
    Resource = var.kms_key_arns
  }]

  # What a consumer needs: https://docs.aws.amazon.com/msk/latest/developerguide/kafka-actions.html
  # Reading asks for Connect, DescribeTopic and AlterGroup, and that for DescribeGroup. The host changes nothing and
  # asks for no configuration of the cluster.
  kafka = var.kafka.auth != "msk-iam" ? [] : [
    {
      Sid      = "KafkaConnect"
      Effect   = "Allow"
      Action   = ["kafka-cluster:Connect"]
      Resource = [var.kafka.cluster_arn]
    },
    {
      Sid      = "KafkaRead"
      Effect   = "Allow"
      Action   = ["kafka-cluster:DescribeTopic", "kafka-cluster:ReadData"]
      Resource = ["${replace(var.kafka.cluster_arn, ":cluster/", ":topic/")}/${var.topic}"]
    },
    {
      Sid      = "KafkaGroup"
      Effect   = "Allow"
      Action   = ["kafka-cluster:AlterGroup", "kafka-cluster:DescribeGroup"]
      Resource = ["${replace(var.kafka.cluster_arn, ":cluster/", ":group/")}/${var.group}"]
    },
  ]
}

data "aws_iam_policy_document" "assume" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ecs-tasks.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.current.account_id]
    }
  }
}

# --- the host ---------------------------------------------------------------------------------------------------------

resource "aws_iam_role" "task" {
  name_prefix        = "${var.name}-host-"
  description        = "Hosts of ${var.name}"
  assume_role_policy = data.aws_iam_policy_document.assume.json
  tags               = var.tags
}

resource "aws_iam_role_policy" "task" {
  name = "host"
  role = aws_iam_role.task.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      local.list,
      [local.files],
      local.components == null ? [] : [{
        Sid      = "Transforms"
        Effect   = "Allow"
        Action   = ["s3:GetObject"]
        Resource = ["${local.components}*"]
      }],
      local.keep_the_log,
      [
        local.get_database,
        {
          Sid      = "Tables"
          Effect   = "Allow"
          Action   = local.write_tables
          Resource = local.tables
        },
      ],
      local.kafka,
      local.encryption,
    )
  })
}

# --- ECS on its behalf ------------------------------------------------------------------------------------------------

locals {
  # [account, region, repository] if the image lies in ECR.
  ecr = try(regex("^([0-9]{12})\\.dkr\\.ecr\\.([a-z0-9-]+)\\.amazonaws\\.com(?:\\.cn)?/([^:@]+)", var.image), null)

  kept_in = {
    for service, action in { secretsmanager = "secretsmanager:GetSecretValue", ssm = "ssm:GetParameters" } : action => [
      # An ARN may go on with a key, a stage and a version; the right is on the secret.
      for arn in sort(distinct(values(local.secrets))) : join(":", slice(split(":", arn), 0, service == "ssm" ? 6 : 7))
      if split(":", arn)[2] == service
    ]
  }
}

resource "aws_iam_role" "execution" {
  name_prefix        = "${var.name}-ecs-"
  description        = "ECS, for hosts of ${var.name}: image, secrets, logs"
  assume_role_policy = data.aws_iam_policy_document.assume.json
  tags               = var.tags
}

resource "aws_iam_role_policy" "execution" {
  name = "ecs"
  role = aws_iam_role.execution.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [{
        Sid      = "Logs"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = ["arn:${local.partition}:logs:${data.aws_region.current.name}:${data.aws_caller_identity.current.account_id}:log-group:${local.log_group}:log-stream:*"]
      }],
      local.ecr == null ? [] : [
        {
          Sid      = "Registry"
          Effect   = "Allow"
          Action   = ["ecr:GetAuthorizationToken"]
          Resource = ["*"] # it knows no narrower one
        },
        {
          Sid      = "Image"
          Effect   = "Allow"
          Action   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
          Resource = ["arn:${local.partition}:ecr:${local.ecr[1]}:${local.ecr[0]}:repository/${local.ecr[2]}"]
        },
      ],
      [
        for action, arns in local.kept_in : {
          Sid      = "Secrets${title(split(":", action)[0])}"
          Effect   = "Allow"
          Action   = [action]
          Resource = arns
        } if length(arns) > 0
      ],
    )
  })
}

# --- people -----------------------------------------------------------------------------------------------------------

resource "aws_iam_policy" "operator" {
  name_prefix = "${var.name}-operator-"
  description = "For people: tidemill doctor, verify, gc, rejects, log, compact, retain, and putting transforms in place"
  tags        = var.tags

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      local.list,
      [
        {
          Sid      = "Buckets"
          Effect   = "Allow"
          Action   = ["s3:GetLifecycleConfiguration", "s3:ListBucketMultipartUploads"]
          Resource = [for place in local.zones : place.bucket]
        },
        local.files,
      ],
      local.components == null ? [] : [{
        Sid      = "Transforms"
        Effect   = "Allow"
        Action   = ["s3:DeleteObject", "s3:GetObject", "s3:PutObject"]
        Resource = ["${local.components}*"]
      }],
      local.keep_the_log,
      [
        local.get_database,
        {
          Sid      = "Tables"
          Effect   = "Allow"
          Action   = local.write_tables
          Resource = local.tables
        },
        {
          # `doctor` makes a table to see whether it may, and takes it away again.
          Sid      = "TablesOfDoctor"
          Effect   = "Allow"
          Action   = ["glue:DeleteTable"]
          Resource = concat(slice(local.tables, 0, 2), ["${local.glue}:table/${var.database}/tidemill_doctor_*"])
        },
      ],
      local.kafka,
      local.encryption,
    )
  })
}
