#!/usr/bin/env bash
# Fits the collective profiles that ship, and writes results/calibration/communication.md.
# Usage: calibrate/fit-collectives.sh FOLDER   (with the tables of measured communication)
# SOURCE_DATE_EPOCH sets the date in the profiles. Some minutes; families and chapters run side by side. A fit keeps
# what its profile has where nothing is better, so that only last digits may move when it is run on its own result.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tables=${1:?usage: calibrate/fit-collectives.sh FOLDER}
moesim=${MOESIM:-$root/moesim}
profiles=$root/calibrate/profiles
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# together: waits for all jobs; fails where one does.
together() {
  local job
  for job in $(jobs -p); do wait "$job"; done
}

# fit FAMILY TABLE OP [OPTION...]: replaces the sections of the op in a profile.
fit() {
  local file=$profiles/collectives-$1.json table=$tables/$2.csv op=$3
  shift 3
  "$moesim" fit "$table" --op "$op" "$@" --base "$file" -o "$file" -q
}

fit_family() {
  local family=$1 gpu=$2
  fit "$family" nccl_single_node_aic nccl --gpu "$gpu"
  fit "$family" custom_allreduce_aic custom_allreduce --gpu "$gpu"
  case $family in
    a100 | pcie) return ;;
  esac
  fit "$family" deepep_ll_aic deepep_ll --gpu "$gpu"
  fit "$family" deepep_normal_aic deepep_normal --gpu "$gpu"
  if [ "$family" = gb200 ]; then fit gb200 trtllm_nvlink_a2a_gb200_aic nvlink_a2a; fi
}
while read -r family gpu; do
  fit_family "$family" "$gpu" &
done <<'END'
a100 a100_sxm
h100 h100_sxm
b200 b200_sxm
b300 b300_sxm
gb200 gb200
pcie l40s
END
together
fit default nccl_tests_logs nccl --section network
fit default kv_p2p_transfer p2p

# cross_validate OP TABLE...: a chapter.
cross_validate() {
  local op=$1
  shift
  "$moesim" fit "${@/#/$tables/}" --op "$op" --cross-validate -q >"$work/$op"
}
cross_validate nccl nccl_single_node_aic.csv nccl_tests_logs.csv &
cross_validate custom_allreduce custom_allreduce_aic.csv &
cross_validate deepep_ll deepep_ll_aic.csv &
cross_validate deepep_normal deepep_normal_aic.csv &
cross_validate nvlink_a2a trtllm_nvlink_a2a_gb200_aic.csv &
cross_validate p2p kv_p2p_transfer.csv &
together

report=$root/results/calibration/communication.md
mkdir -p "${report%/*}"
{
  cat <<'END'
# Communication: errors on what the fits did not see

Written by `calibrate/fit-collectives.sh FOLDER`. Every figure is |predicted / measured - 1| of rows that the fit did not see, in percent;
each row of the tables counts once, so that repeats and data types at one point count as their noise, and library versions too where their
kernels are the same.

- **points left out**: the sizes of every series are dealt to five folds in turn; all rows at one size of one series, which is system,
  collective or kernel, ranks and machines (for exchanges also shape and SMs), are in one fold, with their repeats, data types and library
  versions, and those of a copy of the file.
- **series left out** (exchanges): the series of a system are dealt to five folds.
- **ranks left out**: one count of ranks at a time. A count that is the only one inside a domain, or between domains, is not scored.
- **systems left out**: one system of a family (Ampere, Hopper, Blackwell) at a time, predicted by the others' parameters as shares of its own
  line rates (its cluster file). What the others leave open stays near the parameters of another family. Rows between domains are not scored where
  no other system has any. Network sections and puts: one of all systems.
- Folds start from values that are usual for any system, not from the profiles that ship: those have seen the rows.
- "law" is the formula of docs/model.md, "with corrections" has in addition at most 64 factors by size and ranks for one collective or kernel; what
  ships is chosen by these figures (the ratios with and without, of points and of ranks left out, multiply to less than 0.95) and heads each chapter.
- **Versions of engines** (custom_allreduce): a version begins an era of kernels where more than a tenth of its points differ by more than 15 % from
  the versions before. Every era is fitted and scored by itself and ships: `predict` takes the era of a row's `lib_version`, a scenario the newest.
  A system left out is predicted, version by version, by what the other systems hold for it. On L40S and GB200 eras are machines as much as versions:
  SGLang 0.5.12 on L40S is up to 10 times faster than 0.5.10 and 0.5.14, which agree, and on GB200 the runs of SGLang 0.5.9 and vLLM 0.19 and 0.24
  stop at 200 GB/s between two GPUs where the others reach 490.
- Aims, medians: 4 % within series, 8 % for a new count of ranks, 6 % for a new system of a known family. Floor of what can be asked: repeats
  0.8 %, library versions 3.7 % (communication-cost); the noise of the very rows stands in each chapter.
- Ampere and Hopper have one swept system each for NCCL; the others of theirs are logs of 8 ranks from 1 MB (32 KB) on, from which no fit can know
  small sizes or other counts of ranks: their lines say what a profile from such a log is worth beside the parameters of another family. Blackwell has
  three swept systems (B200, B300, GB200).
- Puts are fitted by NIC. ConnectX-7 and Thor2 are one system each, so that no system of a known NIC can be left out: the line of systems says what one
  NIC tells of another. Reads were measured on Thor2 alone.
- Low-latency exchanges between nodes were measured at 16 and 32 ranks only: the figure for ranks is what one of them tells of the other.
- Not scored, by their reasons: `moesim predict TABLE --op OP` lists them.

END
  for op in nccl custom_allreduce deepep_ll deepep_normal nvlink_a2a p2p; do cat "$work/$op"; done
} >"$report.new"
mv "$report.new" "$report"
