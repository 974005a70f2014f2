#include "config/import_topology_xml.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <map>
#include <set>

#include "config/json_reader.h"
#include "config/link_rates.h"
#include "config/read_gpu.h"
#include "config/xml_document.h"

namespace moesim {

namespace {

/// What a <pci> is, by its class code.
enum class Device { bridge, gpu, network, unknown };

/// A <pci> or <nic> of the file that becomes a part.
struct Found {
  const XmlElement* element = nullptr;
  std::uint32_t part = 0;
};

class Reader {
 public:
  Reader(const std::filesystem::path& path, const ImportOptions& options)
      : document_(read_xml_document(path)), options_(options) {
    node_.file = document_.file;
    node_.notes.push_back(
        "PCIe rates as NCCL's topology file gives them, reachable shares of pinned copies and NCCL's model; socket "
        "links "
        "of NCCL's model; latencies: estimates");
  }

  ClusterSpec read() {
    check_root();
    decide_what_is_unsaid();
    for (const XmlElement& cpu : document_.root.children) {
      if (cpu.tag != "cpu") continue;
      const std::uint32_t socket = node_.add(VertexKind::host, -1, {});
      for (const XmlElement& child : cpu.children) add_device(child, static_cast<std::int32_t>(socket), nullptr);
    }
    if (gpus_.empty()) fail(document_.root, "no GPU; expected <pci> of class 0x0302.. or 0x1200..");
    order_parts(gpus_);
    order_parts(nics_);
    const GpuSpec gpu = gpu_of_file();
    complete_rates(gpu);
    add_sockets();
    add_scale_up(gpu);
    return cluster_of_nodes(node_, options_, gpu);
  }

 private:
  [[noreturn]] void fail(const XmlElement& where, const std::string& message) const { document_.fail(where, message); }

  void check_root() const {
    const XmlElement& root = document_.root;
    if (root.tag == "graphs") {
      fail(root,
           "a graph file of NCCL (<graphs>), which holds its rings and trees; expected a topology (<system>), as "
           "NCCL_TOPO_DUMP_FILE writes it");
    }
    if (root.tag != "system") fail(root, fmt::format("<{}>; expected <system>, NCCL's topology", echo(root.tag)));
  }

  double number(const XmlElement& element, std::string_view attribute, double otherwise) const {
    const std::string text(element.value(attribute));
    if (text.empty()) return otherwise;
    char* end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    if (end == text.c_str() || !(value >= 0 && value < 1e12)) {
      fail(element, fmt::format("{}=\"{}\"; expected a number", attribute, echo(text)));
    }
    return value;
  }

  Device device_of(const XmlElement& pci) const {
    const auto has = [&](std::string_view tag) {
      return std::any_of(pci.children.begin(), pci.children.end(),
                         [&](const XmlElement& child) { return child.tag == tag; });
    };
    if (has("gpu")) return Device::gpu;
    if (has("nic")) return Device::network;
    const std::string_view code = pci.value("class");
    if (code.starts_with("0x0604")) return Device::bridge;
    if (code.starts_with("0x03") || code.starts_with("0x12")) return Device::gpu;
    if (code.starts_with("0x02") || code.starts_with("0x0c06")) return Device::network;
    if (has("pci")) return Device::bridge;
    if (!code.empty()) return Device::unknown;
    return unsaid_gpus_.contains(&pci) ? Device::gpu : Device::network;
  }

  /// Devices without a class: NCCL asks the machine for it; here the first ones are GPUs.
  void decide_what_is_unsaid() {
    std::vector<const XmlElement*> unsaid;
    const auto look = [&](const auto& self, const XmlElement& element) -> void {
      if (element.tag == "pci" && element.children.empty() && element.value("class").empty()) {
        unsaid.push_back(&element);
      }
      for (const XmlElement& child : element.children) self(self, child);
    };
    look(look, document_.root);
    if (unsaid.empty()) return;
    const std::size_t gpus =
        options_.gpus > 0 ? static_cast<std::size_t>(options_.gpus) : std::bit_floor(unsaid.size());
    if (gpus > unsaid.size()) {
      fail(document_.root, fmt::format("{} devices without a class; --gpus {} asks for more", unsaid.size(), gpus));
    }
    unsaid_gpus_.insert(unsaid.begin(), unsaid.begin() + static_cast<std::ptrdiff_t>(gpus));
    node_.notes.push_back(
        fmt::format("the file gives no classes: the first {} of {} devices are taken for GPUs", gpus, unsaid.size()));
  }

  /// No rate where the file gives none (an empty speed, as in virtual machines).
  LinkClass rate_of(const XmlElement& pci) const {
    const double transfers = number(pci, "link_speed", 0), lanes = number(pci, "link_width", 0);
    return transfers > 0 && lanes > 0 ? pcie_rate(transfers, lanes) : LinkClass{};
  }

  /// Some devices lie below.
  static bool leads_to_devices(const Reader& reader, const XmlElement& element) {
    if (element.tag == "nic") return true;
    if (element.tag != "pci") return false;
    const Device device = reader.device_of(element);
    if (device == Device::gpu || device == Device::network) return true;
    return std::any_of(element.children.begin(), element.children.end(),
                       [&](const XmlElement& child) { return leads_to_devices(reader, child); });
  }

  /// `port`: of the switch's ports between `element` and its parent, the narrowest.
  void add_device(const XmlElement& element, std::int32_t parent, const LinkClass* port) {
    if (element.tag == "nic") return add_network(element, parent, LinkClass{});
    if (element.tag != "pci" || !leads_to_devices(*this, element)) return;
    LinkClass up = rate_of(element);
    if (port != nullptr && port->bandwidth.value > 0 &&
        (up.bandwidth.value == 0 || port->bandwidth.value < up.bandwidth.value)) {
      up = *port;
    }
    switch (device_of(element)) {
      case Device::gpu:
        return add_gpu(element, parent, up);
      case Device::network:
        return add_network(element, parent, up);
      case Device::bridge:
      case Device::unknown:
        break;
    }
    const auto below = std::count_if(element.children.begin(), element.children.end(),
                                     [&](const XmlElement& child) { return leads_to_devices(*this, child); });
    if (below > 1) {
      up.latency = pcie_uplink_latency;
      parent = static_cast<std::int32_t>(node_.add(VertexKind::pcie_switch, parent, up));
    }
    for (const XmlElement& child : element.children) add_device(child, parent, below > 1 ? nullptr : &up);
  }

  void add_gpu(const XmlElement& pci, std::int32_t parent, const LinkClass& up) {
    const std::string bus(pci.value("busid"));
    if (!bus.empty() && !gpu_at_.emplace(bus, gpus_.size()).second) {
      fail(pci, fmt::format("busid \"{}\" for the second time", echo(bus)));
    }
    gpus_.push_back({&pci, node_.add(VertexKind::gpu, parent, up)});
  }

  /// The speed of a card is the sum over its ports.
  void add_network(const XmlElement& holder, std::int32_t parent, LinkClass up) {
    double speed = 0;
    const auto look = [&](const auto& self, const XmlElement& element) -> void {
      if (element.tag == "net") speed += number(element, "speed", 0);
      for (const XmlElement& child : element.children) self(self, child);
    };
    look(look, holder);
    up.latency = Duration();  // the NIC's own latency holds it
    const std::uint32_t part = node_.add(VertexKind::nic, parent, up);
    node_.parts[part].cable = {speed * 1e6 / 8};  // Mbit/s
    nics_.push_back({&holder, part});
  }

  /// As `dev` says, else in the order of the bus ids, as CUDA and the drivers of NICs do.
  void order_parts(const std::vector<Found>& devices) {
    for (const Found& device : devices) {
      const auto before = std::count_if(devices.begin(), devices.end(), [&](const Found& other) {
        return other.element->value("busid") < device.element->value("busid");
      });
      const XmlElement* named = first_with_dev(*device.element);
      node_.parts[device.part].order =
          named != nullptr ? static_cast<std::size_t>(number(*named, "dev", 0)) : static_cast<std::size_t>(before);
    }
  }
  static const XmlElement* first_with_dev(const XmlElement& element) {
    for (const XmlElement& child : element.children) {
      const bool named = (child.tag == "gpu" || child.tag == "net") && child.find("dev") != nullptr;
      const XmlElement* found = named ? &child : first_with_dev(child);
      if (found != nullptr) return found;
    }
    return nullptr;
  }

  /// By --gpu, else by the PCI id of the first GPU.
  GpuSpec gpu_of_file() const {
    if (!options_.gpu.empty()) return find_gpu(options_.gpu);
    const XmlElement& first = *gpus_.front().element;
    const std::string_view vendor = first.value("vendor"), device = first.value("device");
    if (vendor.starts_with("0x") && device.starts_with("0x")) {
      const std::string id = fmt::format("{}:{}", vendor.substr(2), device.substr(2));
      for (const GpuSpec& gpu : read_gpus()) {
        if (std::find(gpu.aliases.begin(), gpu.aliases.end(), id) != gpu.aliases.end()) return gpu;
      }
    }
    throw ConfigError(InputProblem::usage,
                      fmt::format("{}:{}: does not say which GPU this is{}; give --gpu NAME", node_.file, first.line,
                                  device.empty() ? "" : fmt::format(" (PCI id {}:{})", echo(vendor), echo(device))));
  }

  /// Where the file has no rate the GPU's datasheet has.
  void complete_rates(const GpuSpec& gpu) {
    bool any = false;
    for (NodePart& part : node_.parts) {
      if (part.parent < 0 || part.up.bandwidth.value > 0) continue;
      const Duration latency = part.kind == VertexKind::nic ? Duration() : pcie_latency;
      part.up = pcie_rate_of(gpu.host_link);
      part.up.latency = latency;
      any = true;
    }
    if (any) node_.notes.push_back(fmt::format("links without a speed in the file have the host link of {}", gpu.id));
  }

  void add_sockets() {
    for (const XmlElement& cpu : document_.root.children) {
      if (cpu.tag != "cpu") continue;
      const int model = static_cast<int>(number(cpu, "modelid", 0));
      return node_.connect_sockets(socket_rate(cpu.value("arch"), cpu.value("vendor"), model));
    }
  }

  void add_scale_up(const GpuSpec& gpu) {
    bool shown = false;
    std::size_t to_itself = 0;
    std::optional<std::uint32_t> hub;
    std::set<std::pair<std::size_t, std::size_t>> done;
    for (std::size_t g = 0; g < gpus_.size(); ++g) {
      double to_switch = 0;
      std::map<std::size_t, double> to_peer;
      for (const XmlElement& child : gpus_[g].element->children) {
        if (child.tag != "gpu") continue;
        shown = true;
        for (const XmlElement& link : child.children) {
          if (link.tag == "c2c") widen_host_link(gpus_[g].part, link);
          if (link.tag != "nvlink" && link.tag != "xgmi") continue;
          const double count = number(link, "count", 1);
          const auto peer = gpu_at_.find(std::string(link.value("target")));
          if (peer == gpu_at_.end()) {
            if (link.value("tclass").starts_with("0x0680") && link.value("tclass") != "0x068001") to_switch += count;
          } else if (peer->second == g) {
            ++to_itself;
          } else {
            to_peer[peer->second] += count;
          }
        }
        per_link_ = link_rate(child, gpu);
      }
      if (to_switch > 0) {
        if (!hub) hub = node_.add(VertexKind::nvswitch, -1, {});
        bond(gpus_[g].part, *hub, to_switch);
      }
      for (const auto& [peer, count] : to_peer) {
        if (done.insert({std::min(g, peer), std::max(g, peer)}).second) bond(gpus_[g].part, gpus_[peer].part, count);
      }
    }
    if (to_itself > 0) node_.notes.push_back(fmt::format("{} links of a GPU to itself are left out", to_itself));
    if (shown) {
      if (!node_.bonds.empty())
        node_.notes.push_back("NVLink and xGMI counts of the file; rate of a link by generation");
      return;
    }
    const bool has = gpu.scale_up.value > gpu.host_link.value;
    const ScaleUpKind guess = !has                                           ? ScaleUpKind::pcie
                              : gpu.scale_up_peer.value < gpu.scale_up.value ? ScaleUpKind::mesh
                                                                             : ScaleUpKind::switched;
    const ScaleUpKind kind = options_.scale_up.value_or(guess);
    node_.add_datasheet_scale_up(gpu, kind);
    if (kind == ScaleUpKind::pcie) return;
    node_.notes.push_back(fmt::format("the file leaves scale-up links to the machine: {} of {} by its datasheet{}",
                                      kind == ScaleUpKind::mesh ? "a full mesh" : "a switch", gpu.id,
                                      options_.scale_up ? "" : ", an assumption (--scale-up says another)"));
  }

  void bond(std::uint32_t a, std::uint32_t b, double count) {
    LinkClass rate = per_link_;
    rate.bandwidth.value *= count;
    node_.bonds.push_back({a, b, LinkKind::scale_up, rate});
  }

  /// Of one link: NVLink by the GPU's compute capability, xGMI by its datasheet.
  LinkClass link_rate(const XmlElement& element, const GpuSpec& gpu) const {
    const bool amd = std::any_of(element.children.begin(), element.children.end(),
                                 [](const XmlElement& link) { return link.tag == "xgmi"; });
    if (amd) return {gpu.scale_up_peer, 0.75, scale_up_latency};
    return nvlink_rate(static_cast<int>(number(element, "sm", 80)));
  }

  /// NVLink-C2C to the CPU: `bw` MB/s a link.
  void widen_host_link(std::uint32_t part, const XmlElement& link) {
    const double rate = number(link, "bw", 0) * number(link, "count", 1) * 1e6;
    if (rate > node_.parts[part].up.bandwidth.value) {
      node_.parts[part].up = {{rate}, 0.89, pcie_latency};
      node_.parts[part].parent = socket_above(part);
    }
  }
  std::int32_t socket_above(std::uint32_t part) const {
    std::int32_t at = node_.parts[part].parent;
    while (node_.parts[static_cast<std::size_t>(at)].parent >= 0) at = node_.parts[static_cast<std::size_t>(at)].parent;
    return at;
  }

  XmlDocument document_;
  const ImportOptions& options_;
  NodeDrawing node_;
  std::vector<Found> gpus_, nics_;
  std::map<std::string, std::size_t> gpu_at_;  ///< by bus id
  std::set<const XmlElement*> unsaid_gpus_;
  LinkClass per_link_;
};

}  // namespace

ClusterSpec import_nccl_topology(const std::filesystem::path& path, const ImportOptions& options) {
  return Reader(path, options).read();
}

}  // namespace moesim
