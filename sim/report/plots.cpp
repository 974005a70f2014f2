#include "report/plots.h"

#include <fmt/core.h>

#include <algorithm>
#include <iterator>
#include <tuple>
#include <utility>
#include <vector>

#include "metrics/binding.h"
#include "report/gnuplot.h"
#include "report/number_text.h"

namespace moesim {

namespace {

/// A distribution function in at most `most` points; `values` in the unit of the axis.
std::string distribution_points(std::vector<double>& values) {
  std::sort(values.begin(), values.end());
  constexpr std::size_t most = 400;
  const std::size_t n = values.size();
  const std::size_t points = std::min(n, most);
  std::string data;
  for (std::size_t i = 0; i < points; ++i) {
    const std::size_t at = points == 1 ? 0 : i * (n - 1) / (points - 1);
    fmt::format_to(std::back_inserter(data), "{:.6g} {:.6g}\n", values[at],
                   100 * static_cast<double>(at + 1) / static_cast<double>(n));
  }
  return data;
}

struct Panel {
  std::string title;
  std::vector<double> seconds;
};

/// One panel: the curve, and lines at the median and the 99th percentile with their values.
std::string distribution_panel(Panel& panel, const char* colour, const std::string& name, bool first) {
  const double longest = *std::max_element(panel.seconds.begin(), panel.seconds.end());
  const bool milliseconds = longest < 2;
  for (double& value : panel.seconds) value *= milliseconds ? 1e3 : 1;
  const std::string data = distribution_points(panel.seconds);
  const auto quantile = [&](double q) {
    const double position = q * static_cast<double>(panel.seconds.size() - 1);
    const auto below = static_cast<std::size_t>(position);
    const std::size_t above = std::min(below + 1, panel.seconds.size() - 1);
    return panel.seconds[below] +
           (panel.seconds[above] - panel.seconds[below]) * (position - static_cast<double>(below));
  };
  const double median = quantile(0.5);
  const double p99 = quantile(0.99);
  // Room for a label to the right of the 99th percentile; below one percent of the requests are cut off.
  const double top = p99 * 1.45;
  const char* unit = milliseconds ? "ms" : "s";
  std::string commands = fmt::format("${} << EOD\n{}EOD\n", name, data);
  commands += fmt::format("set title {} font ',15'\n", gnuplot_text(panel.title));
  commands += fmt::format("set xlabel '{}'\n", unit);
  commands += first ? "set ylabel 'requests (%)' offset 1,0\n" : "unset ylabel\n";
  commands += "unset arrow\nunset label\n";
  if (top > 0) commands += fmt::format("set xrange [0:{:.6g}]\n", top);
  for (const auto& [value, height, label] : {std::tuple{median, 50, "median"}, std::tuple{p99, 99, "p99"}}) {
    commands +=
        fmt::format("set arrow from {0:.6g},0 to {0:.6g},{1} nohead linecolor '#999999' dashtype 2\n", value, height);
    commands += fmt::format("set label {} at {:.6g},{} left offset character 0.6,0 textcolor '#333333'\n",
                            gnuplot_text(fmt::format("{} {} {}", label, short_number(value), unit)), value,
                            height == 50 ? 42 : 90);
  }
  commands += fmt::format("plot ${} using 1:2 with lines linewidth 2.5 linecolor '{}'\n", name, colour);
  return commands;
}

std::string sample_data(const RunResult& result) {
  std::string data;
  for (const StepSample& sample : result.step_samples) {
    fmt::format_to(std::back_inserter(data), "{:.9g} {:.6g} {} {}\n", sample.end.seconds(),
                   sample.duration.milliseconds(), sample.sequences, sample.tokens);
  }
  return data;
}

}  // namespace

std::string plot_latency(const RunResult& result, const std::filesystem::path& file) {
  std::vector<Panel> panels = {{"Time to first token", {}}, {"Time per output token", {}}, {"End-to-end latency", {}}};
  for (const RequestRecord& request : result.requests) {
    if (request.outcome != RequestOutcome::finished) continue;
    panels[0].seconds.push_back(request.ttft().seconds());
    if (request.output_tokens > 1) panels[1].seconds.push_back(request.tpot_seconds());
    panels[2].seconds.push_back(request.latency().seconds());
  }
  std::erase_if(panels, [](const Panel& panel) { return panel.seconds.empty(); });
  if (panels.empty()) return {};
  std::string commands = fmt::format(
      "set multiplot layout 1,{} margins 0.065,0.975,0.165,0.8 spacing 0.06,0.1 title {} font ',16'\n"
      "unset key\nset yrange [0:100]\nset ytics 25\n",
      panels.size(),
      gnuplot_text(fmt::format("{}: latency of {} requests", shortened(result.scenario_name, 70),
                               whole_number(result.completed))));
  for (std::size_t i = 0; i < panels.size(); ++i) {
    commands += distribution_panel(panels[i], plot_colours[i], fmt::format("panel{}", i), i == 0);
  }
  return draw_svg(file, 1200, 430, commands + "unset multiplot");
}

std::string plot_step_time(const RunResult& result, const std::filesystem::path& file) {
  if (result.step_samples.empty()) return {};
  double longest = 0;
  for (const StepSample& sample : result.step_samples) longest = std::max(longest, sample.duration.milliseconds());
  std::string commands = fmt::format("$steps << EOD\n{}EOD\n", sample_data(result));
  commands += fmt::format(
      "set multiplot layout 2,1 margins 0.085,0.975,0.115,0.9 spacing 0.02,0.075 title {} font ',16'\n"
      "unset key\nset yrange [0:*]\nset xrange [0:{:.6g}]\nset ytics format '%.6g'\n",
      gnuplot_text(fmt::format("{}: steps of the engine", shortened(result.scenario_name, 70))),
      result.step_samples.back().end.seconds());
  commands += fmt::format(
      "set ylabel 'step time (ms)'\nset format x ''\n"
      "plot $steps using 1:2 with points pointtype 7 pointsize 0.3 linecolor '{}'\n",
      plot_colours[0]);
  commands += fmt::format(
      "set ylabel 'sequences in a step'\nset xlabel 'simulated time (s)'\nset format x '%.6g'\n"
      "plot $steps using 1:3 with points pointtype 7 pointsize 0.3 linecolor '{}'\n",
      plot_colours[1]);
  return draw_svg(file, 1100, 620, commands + "unset multiplot");
}

std::string plot_comparison(std::span<const RunResult> results, const std::filesystem::path& file) {
  struct Figure {
    const char* title;
    double (*value)(const RunResult&);
  };
  constexpr Figure figures[] = {
      {"Output throughput (tok/s)", [](const RunResult& r) { return r.output_throughput; }},
      {"Median TTFT (ms)", [](const RunResult& r) { return r.ttft_ms.median; }},
      {"P99 TTFT (ms)", [](const RunResult& r) { return r.ttft_ms.p99; }},
      {"Median TPOT (ms)", [](const RunResult& r) { return r.tpot_ms.median; }},
  };
  const std::size_t n = results.size();
  std::string commands =
      "set multiplot title 'Comparison on the same requests' font ',16'\nunset key\nset style fill solid 0.9\n";
  constexpr double left = 0.06, right = 0.978, gap = 0.055;
  // Where the time goes: parts that matter in any scenario.
  std::vector<TimePart> parts;
  for (std::size_t p = 0; p < kTimeParts; ++p) {
    for (const RunResult& result : results) {
      if (result.breakdown.total() > Duration() && result.breakdown.parts[p] / result.breakdown.total() >= 0.01) {
        parts.push_back(static_cast<TimePart>(p));
        break;
      }
    }
  }
  // Rows of the picture in pixels from the top.
  constexpr std::size_t key_columns = 7;
  const int bars_top = 375;
  const int bars_bottom = bars_top + 45 * static_cast<int>(n);
  const int key_top = bars_bottom + 45;
  const int names_top = key_top + 24 * static_cast<int>((parts.size() + key_columns - 1) / key_columns) + 30;
  const int height = names_top + 24 * static_cast<int>(n) + 10;
  const auto screen = [height](int pixels) { return 1 - static_cast<double>(pixels) / height; };
  const double width = (right - left - 3 * gap) / 4;
  std::string tics;
  for (std::size_t i = 0; i < n; ++i)
    tics += fmt::format("{}'{}' {}", i == 0 ? "" : ", ", static_cast<char>('A' + i), i);
  for (std::size_t f = 0; f < std::size(figures); ++f) {
    const double from = left + static_cast<double>(f) * (width + gap);
    double top = 0;
    std::string data;
    for (std::size_t i = 0; i < n; ++i) {
      const double value = figures[f].value(results[i]);
      top = std::max(top, value);
      data += fmt::format("{} {:.9g} {} \"{}\"\n", i, value, i, short_number(value));
    }
    commands += fmt::format("$figure{} << EOD\n{}EOD\n", f, data);
    commands += fmt::format(
        "set lmargin at screen {:.4f}\nset rmargin at screen {:.4f}\nset tmargin at screen {:.4f}\nset bmargin at "
        "screen "
        "{:.4f}\nset title \"{}\" font ',13'\nset xtics ({})\nset xrange [-0.6:{:.2f}]\nset yrange [0:{:.6g}]\n",
        from, from + width, screen(85), screen(290), figures[f].title, tics, static_cast<double>(n) - 0.4,
        top > 0 ? top * 1.18 : 1.0);
    // One colour: below, colours tell parts of the time apart.
    commands += fmt::format("plot $figure{} using 1:2:(0.62) with boxes linecolor '#4C6A92'", f);
    commands += fmt::format(", $figure{} using 1:2:4 with labels offset 0,0.7 textcolor '#333333'\n", f);
  }

  std::string data;
  for (std::size_t i = 0; i < n; ++i) {
    const Duration total = results[i].breakdown.total();
    std::string row = fmt::format("{}", n - 1 - i);
    double at = 0;
    for (const TimePart part : parts) {
      const double share = total > Duration() ? 100 * (results[i].breakdown[part] / total) : 0;
      row += fmt::format(" {:.4f} {:.4f}", at, at + share);
      at += share;
    }
    data += row + "\n";
  }
  if (!parts.empty()) {
    std::string names;
    for (std::size_t i = 0; i < n; ++i) {
      names += fmt::format("{}{} {}", i == 0 ? "" : ", ", gnuplot_text(fmt::format("{}", static_cast<char>('A' + i))),
                           n - 1 - i);
    }
    commands += fmt::format(
        "$parts << EOD\n{}EOD\n"
        "set lmargin at screen {:.4f}\nset rmargin at screen {:.4f}\nset tmargin at screen {:.4f}\nset bmargin at "
        "screen "
        "{:.4f}\nset title 'Where the time goes (% of all engines)' font ',13'\nset xtics auto\nset xtics 20\nset "
        "xrange "
        "[0:100]\nset yrange [-0.6:{:.2f}]\nset ytics ({})\nset key at screen {:.4f},{:.4f} left top horizontal "
        "maxcols {} "
        "Left reverse samplen 1 spacing 1.1 width 1 textcolor '#333333'\nplot ",
        data, left, right, screen(bars_top), screen(bars_bottom), static_cast<double>(n) - 0.4, names, left,
        screen(key_top), key_columns);
    constexpr const char* dash[] = {"solid 0.9", "pattern 4", "pattern 6"};
    for (std::size_t p = 0; p < parts.size(); ++p) {
      commands += fmt::format(
          "{}$parts using {}:1:{}:{}:($1-0.3):($1+0.3) with boxxyerror fillstyle {} border linecolor '#ffffff' "
          "fillcolor '{}' title \"{}\"",
          p == 0 ? "" : ", ", 2 * p + 2, 2 * p + 2, 2 * p + 3, dash[p / 8], plot_colours[p % 8], spoken(parts[p]));
    }
    commands += "\n";
  }
  for (std::size_t i = 0; i < n; ++i) {
    commands += fmt::format(
        "set label {} {} at screen {:.3f},{:.3f} textcolor '#333333'\n", i + 1,
        gnuplot_text(fmt::format("{}  {}", static_cast<char>('A' + i), shortened(results[i].scenario_name, 120))), left,
        screen(names_top + 24 * static_cast<int>(i)));
  }
  // Labels need a plot to be drawn with.
  commands +=
      "unset key\nunset border\nunset xtics\nunset ytics\nunset title\nunset grid\nset xrange [0:1]\nset yrange "
      "[0:1]\nset bmargin at screen 0.01\nset tmargin at screen 0.02\nplot NaN\n";
  return draw_svg(file, 1200, height, commands + "unset multiplot");
}

}  // namespace moesim
