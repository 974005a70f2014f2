#include "config/json_members.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <nlohmann/json.hpp>

#include "config/json_reader.h"

namespace moesim {

namespace {

class MemberReader final : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit MemberReader(std::span<JsonMember> members) : members_(members) {}

  bool is_object() const { return is_object_; }
  const std::string& problem() const { return problem_; }

  bool null() override { return take("null"); }
  bool boolean(bool value) override { return take(value ? "true" : "false"); }
  bool number_integer(number_integer_t value) override { return take_integer(value); }
  bool number_unsigned(number_unsigned_t value) override { return take_integer(value); }
  bool number_float(number_float_t /*value*/, const string_t& text) override { return take(text); }
  bool string(string_t& text) override { return wanted_ == nullptr || take('"' + text + '"'); }
  bool binary(binary_t& /*value*/) override { return true; }
  bool start_object(std::size_t /*size*/) override {
    if (depth_ == 0) is_object_ = true;
    return open("{");
  }
  bool start_array(std::size_t /*size*/) override { return open("["); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& name) override {
    wanted_ = nullptr;
    if (depth_ != 1) return true;
    for (JsonMember& member : members_) {
      const auto found = std::find(member.names.begin(), member.names.end(), name);
      if (found == member.names.end()) continue;
      wanted_ = &member;
      member.found = *found;
    }
    return true;
  }
  bool parse_error(std::size_t position, const std::string& /*token*/,
                   const nlohmann::detail::exception& error) override {
    // "[json.exception...] parse error at line 1, column 9: syntax error while parsing value - unexpected ..."
    const std::string_view text = error.what();
    const std::size_t reason = text.find(" - ");
    problem_ = fmt::format("broken JSON at column {}: {}", position,
                           echo(reason == std::string_view::npos ? text : text.substr(reason + 3)));
    return false;
  }

 private:
  bool take(std::string_view text) {
    if (wanted_ != nullptr) wanted_->text = text;
    wanted_ = nullptr;
    return true;
  }
  template <class Integer>
  bool take_integer(Integer value) {
    if (wanted_ == nullptr) return true;
    std::array<char, 24> digits;
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
    return take({digits.data(), static_cast<std::size_t>(end - digits.data())});
  }
  bool open(std::string_view text) {
    take(text);
    ++depth_;
    return true;
  }
  bool close() {
    --depth_;
    return true;
  }

  std::span<JsonMember> members_;
  JsonMember* wanted_ = nullptr;  ///< the member whose value comes next
  int depth_ = 0;
  bool is_object_ = false;
  std::string problem_;
};

}  // namespace

std::optional<std::string> read_json_members(std::string_view line, std::span<JsonMember> members) {
  for (JsonMember& member : members) {
    member.text.clear();
    member.found = {};
  }
  MemberReader reader(members);
  if (!nlohmann::json::sax_parse(line.begin(), line.end(), &reader)) return reader.problem();
  if (!reader.is_object()) return "expected a JSON object";
  return std::nullopt;
}

}  // namespace moesim
