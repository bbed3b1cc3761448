#!/usr/bin/env bash
# Builds the image, pushes it, applies Terraform with it and waits until the service is healthy.
# `scripts/deploy.sh --help` says what can be chosen.
set -euo pipefail

usage() {
  cat <<'END'
Builds the image, pushes it, applies Terraform with it and waits until the service is healthy.

  scripts/deploy.sh --repository REPOSITORY [options]

  --repository R    where the image goes: an ECR repository (ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME), which is
                    logged in to, or one of any registry that docker is logged in to
  --region REGION   the AWS region [default: that of an ECR repository, else AWS_REGION]
  --account ID      go on only with credentials of this AWS account [default: that of an ECR repository]
  --terraform DIR   the root module: with a variable `image`, and outputs `cluster_name` and `service_name`
                    [default: terraform]
  --var-file FILE   values of its other variables; repeatable
  --tag TAG         the image's tag [default: the commit]
  --platform P      what the image is built for [default: linux/amd64]
  --skip-build      deploy what was pushed under --tag before
  --timeout N       minutes to wait for the service [default: 20]
  --yes             apply the plan without asking
  --dry-run         print each command, run none
  --help            this text

The image is deployed by its digest, so that what runs is what was built. To go back: --tag OLD --skip-build.
Needs docker, aws and terraform.
END
}

fail() { # fail "what failed; what to do" [exit code]
  echo "error: $1" >&2
  exit "${2:-1}"
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
repository='' region='' account='' terraform=$root/terraform tag='' platform=linux/amd64 timeout=20
skip_build='' yes='' dry_run='' var_files=()
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage && exit ;;
    --skip-build | --yes | --dry-run)
      name=${1#--}
      declare "${name//-/_}=yes"
      shift
      ;;
    --repository | --region | --account | --terraform | --tag | --platform | --timeout | --var-file)
      [ $# -ge 2 ] || fail "$1 needs a value; see --help" 2
      if [ "$1" = --var-file ]; then
        # Terraform runs in its own folder.
        [[ $2 == /* ]] && var_files+=("-var-file=$2") || var_files+=("-var-file=$PWD/$2")
      else
        declare "${1#--}=$2"
      fi
      shift 2
      ;;
    *) fail "unknown argument $1; see --help" 2 ;;
  esac
done
[ -n "$repository" ] || fail "where is the image to go? Name it with --repository; see --help" 2
[[ ${repository##*/} =~ [:@] ]] && fail "--repository is $repository; expected a name without tag or digest" 2
[[ $timeout =~ ^[1-9][0-9]*$ ]] || fail "--timeout is $timeout; expected minutes, from 1" 2

registry=${repository%%/*} ecr=
if [[ $registry =~ ^([0-9]{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?$ ]]; then
  ecr=${BASH_REMATCH[2]}
  account=${account:-${BASH_REMATCH[1]}} region=${region:-${BASH_REMATCH[2]}}
fi
region=${region:-${AWS_REGION:-}}
[ -n "$region" ] || fail "which region? Name it with --region, or set AWS_REGION" 2
# A root module need not have the variable `region`.
export AWS_REGION=$region TF_VAR_region=$region

commit=$(git -C "$root" describe --always --dirty --abbrev=12 --exclude='*' 2>/dev/null) || commit=
[ -n "${tag:=$commit}" ] || fail "this is no git checkout: name the image's tag with --tag" 2
[[ $tag != *-dirty ]] || [ -n "$dry_run" ] ||
  fail "there are changes that are not committed, so a tag would not say what runs: commit them, or choose a --tag" 2
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -1)
image=$repository:$tag

if [ -z "$dry_run" ]; then
  for tool in docker aws terraform; do
    command -v "$tool" >/dev/null || fail "$tool is not here: install it, or see what would be run with --dry-run"
  done
  [ -d "$terraform" ] || fail "there is no folder $terraform: name that of the root module with --terraform"
fi

show() { # the command, as one can paste it
  local word line=+ quote="'\\''"
  for word in "$@"; do
    [[ $word =~ ^[A-Za-z0-9_./:=@,+-]+$ ]] || word="'${word//\'/$quote}'"
    line+=" $word"
  done
  echo "$line"
}
named() { # the command in short, for errors: its program and what that is to do
  local word
  for word in "${@:2}"; do
    [[ $word == -* ]] || break
  done
  echo "$1 $word"
}
# step "what to do when it fails" COMMAND...
step() {
  local remedy=$1
  shift
  show "$@"
  [ -n "$dry_run" ] || "$@" || fail "\`$(named "$@")\` failed (see above): $remedy"
}
# ask PLACEHOLDER "what to do when it fails" COMMAND...: sets `answer` to what the command prints.
ask() {
  local placeholder=$1 remedy=$2
  shift 2
  show "$@"
  answer=$placeholder
  [ -n "$dry_run" ] || answer=$("$@") || fail "\`$(named "$@")\` failed (see above): $remedy"
}

if [ -n "$account" ]; then
  ask "$account" "get credentials, for instance with \`aws sso login\`, or set AWS_PROFILE" \
    aws sts get-caller-identity --query Account --output text
  [ "$answer" = "$account" ] ||
    fail "the credentials are of account $answer, and $account is meant: set AWS_PROFILE, or name another --account"
fi

if [ -n "$ecr" ]; then
  ask "<password>" "may these credentials do ecr:GetAuthorizationToken?" aws ecr get-login-password --region "$ecr"
  show docker login --username AWS --password-stdin "$registry"
  [ -n "$dry_run" ] || docker login --username AWS --password-stdin "$registry" <<<"$answer" >/dev/null ||
    fail "\`docker login\` failed (see above): is the Docker daemon running, and is $registry right?"
fi
if [ -z "$skip_build" ]; then
  step "is the Docker daemon running? A build needs some gigabytes of disk" \
    docker build --pull --platform "$platform" --build-arg "VERSION=$version" --build-arg "REVISION=${commit:-unknown}" \
    --tag "$image" "$root"
  step "does the repository exist (\`aws ecr create-repository\`), and may you push to it? A tag that cannot be \
overwritten was pushed before: go on with --skip-build" docker push "$image"
else
  step "was $image pushed? Leave out --skip-build to build it" docker pull --platform "$platform" "$image"
fi
ask "$repository@sha256:<digest>" "the image is not known to Docker: build it, without --skip-build" \
  docker image inspect --format "{{range .RepoDigests}}{{println .}}{{end}}" "$image"
# An image may have been pushed to several places.
digest=$(grep -F "$repository@sha256:" <<<"$answer" | head -1) ||
  fail "the image $image has no digest of $repository: push it first, without --skip-build"

plan=$(mktemp)
trap 'rm -f "$plan"' EXIT
step "see \`terraform -chdir=$terraform init\`; is the backend's bucket there?" \
  terraform "-chdir=$terraform" init -input=false
step "give values to variables that have none with --var-file" \
  terraform "-chdir=$terraform" plan -input=false "-var=image=$digest" ${var_files[@]+"${var_files[@]}"} "-out=$plan"
if [ -z "$yes$dry_run" ]; then
  [ -t 0 ] || fail "nobody can be asked here whether to apply the plan: call it with --yes once you have seen it"
  read -r -p "Apply this plan to ${account:+account $account, }region $region? [y/N] " answer
  [[ $answer == [yY]* ]] || fail "nothing was applied; the image is pushed: to go on, --tag $tag --skip-build"
fi
step "what was applied so far stays: fix the cause and run this again" \
  terraform "-chdir=$terraform" apply -input=false "$plan"

ask "<cluster>" "does the root module in $terraform have this output?" \
  terraform "-chdir=$terraform" output -raw cluster_name
cluster=$answer
ask "<service>" "does the root module in $terraform have this output?" \
  terraform "-chdir=$terraform" output -raw service_name
service=$answer

# A deployment is COMPLETED when all its tasks run and their health checks pass.
look=(aws ecs describe-services --region "$region" --cluster "$cluster" --services "$service" --output text
  --query "services[0].deployments[?status=='PRIMARY'] | [0].[rolloutState,runningCount,desiredCount,rolloutStateReason]")
began=$SECONDS said=''
while :; do
  if [ -n "$dry_run" ]; then
    show "${look[@]}"
    echo "# … again each 10 s until it says COMPLETED, for at most $timeout minutes"
    exit
  fi
  now=$("${look[@]}") || fail "\`aws ecs\` failed (see above): the plan was applied; look at service $service yourself"
  IFS=$'\t' read -r state running desired reason <<<"$now"
  [ "$now" = "$said" ] || echo "service $service: $state, $running of $desired tasks run"
  said=$now
  case $state in
    COMPLETED)
      echo "deployed $digest in $((SECONDS - began)) s"
      exit
      ;;
    FAILED) fail "the deployment failed: $reason. ECS goes back to the task before, if rollback is on. See its events and \
its log: aws ecs describe-services --cluster $cluster --services $service --query 'services[0].events[:5]'" ;;
    IN_PROGRESS) ;;
    *) fail "ECS knows no deployment of service $service in cluster $cluster: is the region $region right?" ;;
  esac
  [ $((SECONDS - began)) -lt $((timeout * 60)) ] ||
    fail "the service is not healthy after $timeout minutes; it may still become so. See why tasks stop: aws ecs \
describe-services --cluster $cluster --services $service --query 'services[0].events[:5]'"
  sleep "${TIDEMILL_DEPLOY_POLL:-10}"
done
