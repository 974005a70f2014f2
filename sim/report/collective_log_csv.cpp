#include "report/collective_log_csv.h"

#include <fmt/core.h>

#include <filesystem>

namespace moesim {

namespace {

/// Quoted where CSV needs it.
std::string field(const std::string& text) {
  if (text.find_first_of(",\"\n\r") == std::string::npos) return text;
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"') out += '"';
    out += c == '\n' || c == '\r' ? ' ' : c;
  }
  return out + '"';
}

std::string count(std::int64_t value) {
  return value > 0 ? fmt::format("{}", value) : "";
}

std::string figure(const std::optional<double>& value) {
  return value ? fmt::format("{}", *value) : "";
}

std::string intra_link(const ClusterSpec& cluster) {
  const double rate = cluster.scale_up_link.bandwidth.value / 1e9;
  switch (cluster.scale_up) {
    case ScaleUpKind::switched:
      return fmt::format("switched {:g} GB/s", rate);
    case ScaleUpKind::mesh:
      return fmt::format("full mesh {:g} GB/s", rate);
    case ScaleUpKind::pcie:
      return fmt::format("PCIe {:g} GB/s", cluster.graph ? cluster.host_link.bandwidth.value / 1e9 : rate);
  }
  return {};
}

/// "8x400G", "32x100G EFA v2": NICs of a node, their rate in Gbit/s, what carries messages where it is a cloud's own.
std::string inter_link(const NcclTestLog& log, const ClusterSpec& cluster, const std::string& transport) {
  if (log.nodes == 1) return "n/a";
  if (cluster.nics_per_node == 0 || cluster.nic.bandwidth.value == 0) return {};
  return fmt::format("{}x{:g}G{}{}", cluster.nics_per_node, cluster.nic.bandwidth.value * 8 / 1e9,
                     transport.empty() ? "" : " ", transport.substr(0, transport.find(',')));
}

}  // namespace

std::string nccl_tests_csv(const NcclTestLog& log, const std::string& system, const std::optional<ClusterSpec>& cluster,
                           const std::string& transport) {
  std::string text =
      "log_id,system,gpu,intra_link,inter_link,nodes,gpus_per_node,ranks,library,lib_version,collective,bytes,dtype,"
      "time_us,algbw_GBps,busbw_GBps,inplace_time_us,source_id\n";
  const std::string run =
      fmt::format("{},{},{},{},{},{},{},{},{},{},{}", field(std::filesystem::path(log.file).stem().string()),
                  field(system), field(log.gpu), cluster ? field(intra_link(*cluster)) : "",
                  cluster ? field(inter_link(log, *cluster, transport)) : "", count(log.nodes),
                  count(log.gpus_per_node), count(log.ranks), log.library, field(log.version), field(log.collective));
  for (const NcclTestRow& row : log.rows) {
    text += fmt::format("{},{},{},{},{},{},{},\n", run, row.bytes, field(row.type), figure(row.time), figure(row.algbw),
                        figure(row.busbw), figure(row.inplace_time));
  }
  return text;
}

}  // namespace moesim
