// The graph of a topology as text that other tools read, and summed up.

#include <fmt/ostream.h>

#include <algorithm>
#include <ostream>

#include "core/xml_text.h"
#include "network/topology.h"

namespace moesim {

namespace {

/// The words of Graphviz that may stand without quotes: letters, digits and underscores.
std::string dot_id(const std::string& text) {
  const bool plain = !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  }) && (text[0] < '0' || text[0] > '9');
  if (plain) return text;
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

}  // namespace

void Topology::write_dot(std::ostream& out) const {
  fmt::print(out, "digraph cluster {{\n");
  for (const Vertex& vertex : vertices()) fmt::print(out, "  {} [kind={}];\n", dot_id(vertex.name), name(vertex.kind));
  for (const Link& link : links()) {
    fmt::print(out, "  {} -> {} [gbps={} lat_us={}];\n", dot_id(vertices()[link.from].name),
               dot_id(vertices()[link.to].name), link.rate.bandwidth.value / 1e9, link.rate.latency.microseconds());
  }
  fmt::print(out, "}}\n");
}

void Topology::write_graphml(std::ostream& out) const {
  fmt::print(out,
             "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
             "<graphml xmlns=\"http://graphml.graphdrawing.org/xmlns\" "
             "xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" "
             "xsi:schemaLocation=\"http://graphml.graphdrawing.org/xmlns "
             "http://graphml.graphdrawing.org/xmlns/1.0/graphml.xsd\">\n"
             "  <key id=\"key0\" for=\"edge\" attr.name=\"gbps\" attr.type=\"double\"/>\n"
             "  <key id=\"key1\" for=\"edge\" attr.name=\"lat_us\" attr.type=\"double\"/>\n"
             "  <key id=\"key2\" for=\"node\" attr.name=\"kind\" attr.type=\"string\"/>\n"
             "  <key id=\"key3\" for=\"node\" attr.name=\"name\" attr.type=\"string\"/>\n"
             "  <key id=\"key4\" for=\"node\" attr.name=\"node\" attr.type=\"int\"/>\n"
             "  <key id=\"key5\" for=\"edge\" attr.name=\"efficiency\" attr.type=\"double\"/>\n"
             "  <key id=\"key6\" for=\"edge\" attr.name=\"link_kind\" attr.type=\"string\"/>\n"
             "  <graph id=\"G\" edgedefault=\"directed\" parse.nodeids=\"canonical\" parse.edgeids=\"canonical\" "
             "parse.order=\"nodesfirst\">\n");
  for (std::size_t i = 0; i < vertices().size(); ++i) {
    const Vertex& vertex = vertices()[i];
    fmt::print(out, "    <node id=\"n{}\"><data key=\"key2\">{}</data><data key=\"key3\">{}</data>", i,
               name(vertex.kind), xml_escaped(vertex.name));
    if (vertex.node >= 0) fmt::print(out, "<data key=\"key4\">{}</data>", vertex.node);
    fmt::print(out, "</node>\n");
  }
  for (std::size_t i = 0; i < links().size(); ++i) {
    const Link& link = links()[i];
    fmt::print(out,
               "    <edge id=\"e{}\" source=\"n{}\" target=\"n{}\"><data key=\"key0\">{}</data>"
               "<data key=\"key1\">{}</data><data key=\"key5\">{}</data><data key=\"key6\">{}</data></edge>\n",
               i, link.from, link.to, link.rate.bandwidth.value / 1e9, link.rate.latency.microseconds(),
               link.rate.efficiency, name(link.kind));
  }
  fmt::print(out, "  </graph>\n</graphml>\n");
}

std::vector<LinkClassSummary> summarize_links(const Topology& topology) {
  std::vector<LinkClassSummary> classes;
  for (const Link& link : topology.links()) {
    const LinkClass& rate = link.rate;
    const auto same = std::find_if(classes.begin(), classes.end(), [&](const LinkClassSummary& c) {
      return c.kind == link.kind && c.line_rate == rate.bandwidth && c.efficiency == rate.efficiency &&
             c.latency == rate.latency;
    });
    if (same != classes.end()) {
      ++same->links;
    } else {
      classes.push_back({link.kind, 1, rate.bandwidth, rate.efficiency, rate.latency});
    }
  }
  return classes;
}

}  // namespace moesim
