#include "report/kernel_scatter.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <vector>

#include "report/gnuplot.h"

namespace moesim {

namespace {

using Points = std::vector<ScoredKernel>;

/// Microseconds, measured and predicted.
std::string data_of(Points points) {
  constexpr std::size_t most = 150;
  std::stable_sort(points.begin(), points.end(), [](const ScoredKernel& a, const ScoredKernel& b) {
    return a.sample->measured < b.sample->measured;
  });
  const std::size_t count = std::min(points.size(), most);
  std::string data;
  for (std::size_t i = 0; i < count; ++i) {
    const ScoredKernel& s = points[count == 1 ? 0 : i * (points.size() - 1) / (count - 1)];
    fmt::format_to(std::back_inserter(data), "{:.5g} {:.5g}\n", 1e6 * s.sample->measured, 1e6 * s.predicted);
  }
  return data;
}

}  // namespace

std::string plot_kernels(std::span<const KernelValidation> validations, const std::string& title,
                         const std::filesystem::path& file) {
  std::map<std::string, std::map<std::string, Points>> panels;  // by GPU and provider
  std::map<std::string, std::size_t> colours;                   // of providers
  double least = 1e9, most = 0;
  for (const KernelValidation& v : validations) {
    if (!v.fit.problem.empty()) continue;
    colours.emplace(v.provider, 0);
    Points& points = panels[v.gpu][v.provider];
    for (const ScoredKernel& s : v.fit.held_out()) {
      points.push_back(s);
      least = std::min({least, 1e6 * s.sample->measured, 1e6 * s.predicted});
      most = std::max({most, 1e6 * s.sample->measured, 1e6 * s.predicted});
    }
  }
  if (panels.empty()) return {};
  std::size_t next = 0;
  for (auto& [provider, colour] : colours) colour = next++ % std::size(plot_colours);
  const std::size_t columns = std::min<std::size_t>(panels.size(), 3), rows = (panels.size() + columns - 1) / columns;
  const double low = least / 1.3, high = most * 1.3;
  std::string commands = fmt::format(
      "set multiplot layout {},{} title {} font ',16'\nset logscale xy\nset format xy '%.0f'\nset size square\n"
      "set xrange [{:.4g}:{:.4g}]\nset yrange [{:.4g}:{:.4g}]\nset xlabel 'measured (us)'\n"
      "set ylabel 'predicted (us)'\nset key left top Left reverse samplen 0.5 textcolor '#333333'\n",
      rows, columns, gnuplot_text(title), low, high, low, high);
  for (const auto& [gpu, providers] : panels) {
    std::string plot =
        "plot x with lines linecolor '#888888' notitle, 1.25*x with lines linecolor '#cccccc' notitle, "
        "0.8*x with lines linecolor '#cccccc' notitle";
    std::size_t block = 0;
    for (const auto& [provider, points] : providers) {
      commands += fmt::format("$d{} << EOD\n{}EOD\n", block, data_of(points));
      plot += fmt::format(", $d{} with points pointtype 7 pointsize 0.25 linecolor '{}' title {}", block,
                          plot_colours[colours.at(provider)], gnuplot_text(provider));
      ++block;
    }
    commands += fmt::format("set title {} font ',14'\n{}\n", gnuplot_text(gpu), plot);
  }
  return draw_svg(file, static_cast<int>(380 * columns), static_cast<int>(40 + 370 * rows),
                  commands + "unset multiplot");
}

}  // namespace moesim
