#!/usr/bin/env bash
# Fits the collective profiles that ship, and writes results/calibration/communication.md.
# Usage: calibrate/fit-collectives.sh FOLDER   (with the tables of measured communication)
# SOURCE_DATE_EPOCH sets the date in the profiles. Fits start from the shipped values. The chapter deepep_normal takes
# longest: 5,267 rows, every fold refitted for each of four GPUs.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tables=${1:?usage: calibrate/fit-collectives.sh FOLDER}
moesim=${MOESIM:-$root/moesim}
profiles=$root/calibrate/profiles

# fit FAMILY TABLE OP [OPTION...]: replaces the sections of the op in a profile.
fit() {
  local file=$profiles/collectives-$1.json table=$tables/$2.csv op=$3
  shift 3
  "$moesim" fit "$table" --op "$op" "$@" --base "$file" -o "$file" -q
}

ranks_in_a_node=nccl_single_node_aic
engines=custom_allreduce_aic
while read -r family gpu vllm sglang; do
  fit "$family" $ranks_in_a_node nccl --gpu "$gpu"
  fit "$family" $engines custom_allreduce --gpu "$gpu" --provider vllm --lib-version "$vllm" --section custom_all_reduce
  fit "$family" $engines custom_allreduce --gpu "$gpu" --provider sglang --lib-version "$sglang" \
    --section custom_all_reduce_sglang
  fit "$family" $engines custom_allreduce --gpu "$gpu" --provider trtllm || true # L40S: none
done <<'END'
a100 a100_sxm 0.14.0 0.5.10
h100 h100_sxm 0.24.0 0.5.14
b200 b200_sxm 0.24.0 0.5.14
b300 b300_sxm 0.24.0 0.5.14
gb200 gb200 0.24.0 0.5.14
pcie l40s 0.14.0 0.5.14
END

while read -r family gpu; do
  fit "$family" deepep_ll_aic deepep_ll --gpu "$gpu"
  fit "$family" deepep_normal_aic deepep_normal --gpu "$gpu"
done <<'END'
h100 h100_sxm
b200 b200_sxm
b300 b300_sxm
gb200 gb200
END
fit gb200 trtllm_nvlink_a2a_gb200_aic nvlink_a2a
fit default nccl_tests_logs nccl --section network
fit default kv_p2p_transfer p2p

report=$root/results/calibration/communication.md
mkdir -p "${report%/*}"
cross_validate() {
  local op=$1
  shift
  "$moesim" fit "${@/#/$tables/}" --op "$op" --cross-validate -q
}
{
  cat <<'END'
# Communication: errors on what the fits did not see

Written by `calibrate/fit-collectives.sh FOLDER`. Every figure is |predicted / measured - 1| of rows that the fit did not see, in percent;
each row of the tables counts once, so that repeats, data types and library versions at one point count as their noise.

- **points left out**: the sizes of every series are dealt to five folds in turn; all rows at one size of one series, which is system,
  collective or kernel, ranks and machines (for exchanges also shape and SMs), are in one fold, with their repeats, data types and library
  versions, and those of a copy of the file.
- **series left out** (exchanges): the series of a system are dealt to five folds.
- **ranks left out**: one count of ranks at a time. A count that is the only one inside a domain, or between domains, is not scored.
- **systems left out**: one system of a family (Ampere, Hopper, Blackwell) at a time, predicted by the others' parameters as shares of its own
  line rates (its cluster file). Network sections and puts: one of all systems.
- "law" is the formula of docs/model.md, "with corrections" has in addition at most 64 factors by size and ranks for one collective or kernel; what
  ships is chosen by these figures (the ratios with and without, of points and of ranks left out, multiply to less than 0.95) and heads each chapter.
- Aims, medians: 4 % within series, 8 % for a new count of ranks, 6 % for a new system of a known family. Floor of what can be asked: repeats
  0.8 %, library versions 3.7 % (communication-cost); the noise of the very rows stands in each chapter.
- Ampere and Hopper have one swept system each; the others of theirs are logs of 8 ranks from 1 MB (32 KB) on, from which no fit can know small sizes
  or other counts of ranks: their lines say what a profile from such a log alone is worth. Blackwell has three swept systems (B200, B300, GB200).
- Not scored, by their reasons: `moesim predict TABLE --op OP` lists them. SGLang's all-reduce kernels changed twofold between 0.5.10 and 0.5.14;
  the chapter on custom all-reduce has all versions in it, the profiles the newest.

END
  cross_validate nccl nccl_single_node_aic.csv nccl_tests_logs.csv
  cross_validate custom_allreduce custom_allreduce_aic.csv
  cross_validate deepep_ll deepep_ll_aic.csv
  cross_validate nvlink_a2a trtllm_nvlink_a2a_gb200_aic.csv
  cross_validate p2p kv_p2p_transfer.csv
  cross_validate deepep_normal deepep_normal_aic.csv
} >"$report.new"
mv "$report.new" "$report"
