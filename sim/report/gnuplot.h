#pragma once
// A pipe to gnuplot.

#include <filesystem>
#include <string>
#include <string_view>

namespace moesim {

/// Runs `commands` with an SVG terminal of this size. The picture is renamed to `file` when gnuplot has ended well.
/// Returns the problem in one line, empty when done.
std::string draw_svg(const std::filesystem::path& file, int width, int height, const std::string& commands);

/// `text` as a string of gnuplot, with quotes; never read as markup.
std::string gnuplot_text(std::string_view text);

// Colours that stay apart for every kind of colour vision [Okabe and Ito 2008].
inline constexpr const char* plot_colours[] = {"#0072B2", "#D55E00", "#009E73", "#CC79A7",
                                               "#E69F00", "#56B4E9", "#8C6D31", "#555555"};

}  // namespace moesim
