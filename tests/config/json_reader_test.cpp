#include "config/json_reader.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

namespace moesim {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

/// The line and exit code of the error that `action` ends in.
std::pair<std::string, int> error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const ConfigError& error) {
    return {error.what(), error.exit_code()};
  }
  return {"no error", 0};
}

std::string line_of(const std::function<void()>& action) {
  return error_of(action).first;
}

/// A file of the given text in a folder of its own that ends with the test.
class JsonFile : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() /
              ("moesim_json_reader_" + std::string(testing::UnitTest::GetInstance()->current_test_info()->name()));
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  fs::path write(const std::string& text) const {
    const fs::path path = folder_ / "x.json";
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }
  /// The error of parsing `text`, without the folder.
  std::string parse_error(const std::string& text) const {
    const fs::path path = write(text);
    const auto [line, code] = error_of([&] { parse_json_file(path); });
    EXPECT_EQ(code, code == 0 ? 0 : 4);
    const std::string folder = folder_.string() + "/";
    return line.starts_with(folder) ? line.substr(folder.size()) : line;
  }
  fs::path folder_;
};

TEST(JsonReader, AnUnknownFieldSuggestsTheNearestOne) {
  const auto json = ordered_json::parse(R"({"engine": {"max_num_batched_token": 8192}})");
  const JsonReader root(json, "scenarios/chat.json");
  const std::string_view known[] = {"max_num_seqs", "max_num_batched_tokens"};
  EXPECT_EQ(line_of([&] { root.at("engine").expect_only(known); }),
            "scenarios/chat.json: /engine/max_num_batched_token: unknown field; did you mean max_num_batched_tokens?");
  const std::string_view others[] = {"alpha", "omega"};
  EXPECT_EQ(line_of([&] { root.at("engine").expect_only(others); }),
            "scenarios/chat.json: /engine/max_num_batched_token: unknown field; expected one of alpha, omega");
}

TEST(JsonReader, ABareNumberWhereAUnitIsNeededIsRefusedWithTheForm) {
  const auto json = ordered_json::parse(R"({"a": {"b": 12}})");
  const JsonReader b = JsonReader(json, "FILE").at("a").at("b");
  EXPECT_EQ(line_of([&] { b.rate_per_second(); }), "FILE: /a/b: expected a rate such as \"12 /s\", got 12");
  EXPECT_EQ(line_of([&] { b.duration(); }), "FILE: /a/b: expected a time such as \"50 ms\", got 12");
  EXPECT_EQ(line_of([&] { b.bytes(); }), "FILE: /a/b: expected a size such as \"80 GiB\", got 12");
  EXPECT_EQ(line_of([&] { b.bandwidth(); }),
            "FILE: /a/b: expected a bandwidth such as \"450 GB/s\" or \"400 Gbit/s\", got 12");
  EXPECT_EQ(line_of([&] { b.flops_per_second(); }),
            "FILE: /a/b: expected a compute rate such as \"989 TFLOPS\", got 12");
  EXPECT_EQ(line_of([&] { b.usd(); }), "FILE: /a/b: expected a price such as \"2.5 USD\", got 12");
  EXPECT_EQ(line_of([&] { b.watts(); }), "FILE: /a/b: expected a power such as \"700 W\", got 12");
}

TEST(JsonReader, QuantitiesFollowTheirUnits) {
  const auto json = ordered_json::parse(
      R"(["3.2 us", "2s", "80 GiB", "500 MB", "400 Gbit/s", "450 GB/s", "989 TFLOPS", "90 /min", "2.5 USD", "0.7 kW"])");
  const auto e = JsonReader(json, "f").elements();
  EXPECT_EQ(e[0].duration(), Duration::picoseconds(3'200'000));
  EXPECT_EQ(e[1].duration(), Duration::seconds(2));
  EXPECT_EQ(e[2].bytes().value, 80LL * 1024 * 1024 * 1024);
  EXPECT_EQ(e[3].bytes().value, 500'000'000);
  EXPECT_DOUBLE_EQ(e[4].bandwidth().value, 50e9);  // 8 bits a byte
  EXPECT_DOUBLE_EQ(e[5].bandwidth().value, 450e9);
  EXPECT_DOUBLE_EQ(e[6].flops_per_second().value, 989e12);
  EXPECT_DOUBLE_EQ(e[7].rate_per_second(), 1.5);
  EXPECT_DOUBLE_EQ(e[8].usd(), 2.5);
  EXPECT_DOUBLE_EQ(e[9].watts(), 700);
}

TEST(JsonReader, NegativeEndlessAndUnknownQuantitiesAreRefused) {
  const auto json = ordered_json::parse(R"(["-1 s", "inf s", "nan s", "1e999 s", "3 parsecs", "1e300 h", "s", ""])");
  const auto e = JsonReader(json, "f").elements();
  const std::string expected = "expected a time such as \"50 ms\", got ";
  EXPECT_EQ(line_of([&] { e[0].duration(); }), "f: /0: " + expected + "\"-1 s\" (negative)");
  EXPECT_EQ(line_of([&] { e[1].duration(); }), "f: /1: " + expected + "\"inf s\" (not finite)");
  EXPECT_EQ(line_of([&] { e[2].duration(); }), "f: /2: " + expected + "\"nan s\" (not finite)");
  EXPECT_EQ(line_of([&] { e[3].duration(); }), "f: /3: " + expected + "\"1e999 s\" (out of range)");
  EXPECT_EQ(line_of([&] { e[4].duration(); }),
            "f: /4: " + expected + "\"3 parsecs\"; units are s, ms, us, ns, ps, min, h");
  EXPECT_EQ(line_of([&] { e[5].duration(); }), "f: /5: expected a time of at most 53 days, got \"1e300 h\"");
  EXPECT_EQ(line_of([&] { e[6].duration(); }), "f: /6: " + expected + "\"s\"");
  EXPECT_EQ(line_of([&] { e[7].duration(); }), "f: /7: " + expected + "\"\"");
}

TEST(JsonReader, WrongTypesAndRangesNameWhatWasFoundAndExpected) {
  const auto json =
      ordered_json::parse(R"({"n": 2.5, "s": "x", "o": {}, "l": [1], "z": null, "big": 1e30, "four": 4.0})");
  const JsonReader root(json, "f");
  EXPECT_EQ(line_of([&] { root.at("n").integer(); }), "f: /n: expected a whole number, got 2.5");
  EXPECT_EQ(line_of([&] { root.at("big").integer(); }), "f: /big: expected a whole number, got 1e+30");
  EXPECT_EQ(line_of([&] { root.at("n").number_in(0, 1); }), "f: /n: expected a number from 0 to 1, got 2.5");
  EXPECT_EQ(line_of([&] { root.at("four").integer_in(0, 3); }), "f: /four: expected a whole number from 0 to 3, got 4");
  EXPECT_EQ(line_of([&] { root.at("s").number(); }), "f: /s: expected a number, got \"x\"");
  EXPECT_EQ(line_of([&] { root.at("o").string(); }), "f: /o: expected a string, got an object");
  EXPECT_EQ(line_of([&] { root.at("l").boolean(); }), "f: /l: expected true or false, got an array");
  EXPECT_EQ(line_of([&] { root.at("z").elements(); }), "f: /z: expected an array, got null");
  EXPECT_EQ(line_of([&] { root.at("l").at("x"); }), "f: /l: expected an object, got an array");
  EXPECT_EQ(line_of([&] { root.at("absent"); }), "f: /absent: missing");
  EXPECT_EQ(root.at("four").integer(), 4);
  EXPECT_FALSE(root.find("z").has_value());
  EXPECT_TRUE(root.has("z"));
}

TEST(JsonReader, AChoiceListsItsNames) {
  const auto json = ordered_json::parse(R"(["sofmax", "softmax", 3])");
  const auto e = JsonReader(json, "f").elements();
  const std::string_view names[] = {"sigmoid", "softmax"};
  EXPECT_EQ(line_of([&] { e[0].choice(names); }),
            "f: /0: expected one of sigmoid, softmax, got \"sofmax\"; did you mean softmax?");
  EXPECT_EQ(e[1].choice(names), 1u);
  EXPECT_EQ(line_of([&] { e[2].choice(names); }), "f: /2: expected one of sigmoid, softmax, got 3");
}

TEST(JsonReader, NearestAllowsAThirdOfTheWordInEdits) {
  const std::vector<std::string> words = {"ttft", "tpot", "goodput"};
  EXPECT_EQ(nearest("ttfts", words), "ttft");
  EXPECT_EQ(nearest("tfft", words), "ttft");
  EXPECT_EQ(nearest("goodptu", words), "goodput");  // neighbours swapped: one edit
  EXPECT_EQ(nearest("zzzz", words), std::nullopt);
  EXPECT_EQ(nearest("", words), std::nullopt);
}

TEST(JsonReader, LongTextIsCutInMessages) {
  ordered_json json;
  json["a"] = std::string(1'000'000, 'y');
  json[std::string(1'000'000, 'k')] = 1;
  const JsonReader root(json, "f");
  EXPECT_LT(line_of([&] { root.at("a").number(); }).size(), 120u);
  const std::string_view known[] = {"a"};
  EXPECT_LT(line_of([&] { root.expect_only(known); }).size(), 160u);
  EXPECT_EQ(line_of([&] { JsonReader(ordered_json("a\nb"), "f").number(); }), "f: expected a number, got \"a?b\"");
}

TEST_F(JsonFile, ReadsCommentsAndKeepsTheOrderOfKeys) {
  const ordered_json json = parse_json_file(write("{\"z\": 1, // first\n /* then */ \"a\": [true, {\"b\": -2.5}]}"));
  EXPECT_EQ(json.dump(), R"({"z":1,"a":[true,{"b":-2.5}]})");
}

TEST_F(JsonFile, BareNonFiniteNumbersAreReadAsStringsAndRefusedAsNumbers) {
  const ordered_json json = parse_json_file(
      write("{\"a\": [0.0, Infinity, -Infinity], \"NaN\": NaN, /* NaN */ \"s\": \"x\\\"NaN\"} // Infinity"));
  EXPECT_EQ(json.dump(), R"({"a":[0.0,"Infinity","-Infinity"],"NaN":"NaN","s":"x\"NaN"})");
  EXPECT_EQ(line_of([&] { JsonReader(json, "f").at("NaN").number(); }), "f: /NaN: expected a number, got \"NaN\"");
}

TEST_F(JsonFile, SyntaxErrorsGiveLineAndColumn) {
  EXPECT_EQ(parse_error("{\n  \"a\": 1,\n  b\n}").substr(0, 12), "x.json:3:3: ");
  EXPECT_EQ(parse_error("{\"a\": 1} 2").substr(0, 13), "x.json:1:10: ");
  EXPECT_EQ(parse_error("{\"a\": 1e999}"), "x.json:1:11: number out of range");
  EXPECT_EQ(parse_error("{\"a\": 1, \"a\": 2}"), "x.json: key \"a\" appears twice in an object");
}

TEST_F(JsonFile, ACutFileSaysInsideWhatItEnds) {
  EXPECT_EQ(parse_error("{\"a\": \"b"), "x.json:1:9: the file ends inside a string");
  EXPECT_EQ(parse_error("{\"a\": [1,"), "x.json:1:10: the file ends inside an array");
  EXPECT_EQ(parse_error("{\"a\": 1"), "x.json:1:8: the file ends inside an object");
}

TEST_F(JsonFile, EmptyBinaryAndEndlessFilesGiveOneClearLine) {
  EXPECT_EQ(parse_error(""), "x.json: is empty; expected a JSON object");
  EXPECT_EQ(parse_error(" \n"), "x.json: is empty; expected a JSON object");
  EXPECT_EQ(parse_error(std::string("{\"a\": 1}\0garbage", 16)), "x.json:1:9: a NUL byte; expected JSON text");
  EXPECT_NE(parse_error("{\"a\": \"\xff\xfe\"}").find("UTF-8"), std::string::npos);
  EXPECT_EQ(parse_error(std::string(100'000, '[')), "x.json: nested deeper than 200 levels");
  const std::string long_line = parse_error("{\"a\": \"" + std::string(2'000'000, 'x'));
  EXPECT_LT(long_line.size(), 300u);
  EXPECT_EQ(long_line.find('\n'), std::string::npos);
  EXPECT_EQ(error_of([&] { parse_json_file(folder_); }),
            std::pair(folder_.string() + ": is a folder; expected a JSON file", 3));
}

TEST_F(JsonFile, EveryPrefixOfADocumentIsAnErrorAndNeverACrash) {
  const std::string text = R"({"a": [1, -2.5e3, "t\u00e9xt"], "b": {"c": null, "d": true}})";
  for (std::size_t n = 0; n < text.size(); ++n) {
    const std::string line = parse_error(text.substr(0, n));
    EXPECT_TRUE(line.starts_with("x.json:")) << n << ' ' << line;
    EXPECT_EQ(line.find('\n'), std::string::npos);
  }
}

TEST_F(JsonFile, AMissingFileEndsWithCodeThreeAndTheListOfWhatWasTried) {
  EXPECT_EQ(error_of([&] { parse_json_file(folder_ / "no.json"); }),
            std::pair((folder_ / "no.json").string() + ": no such file", 3));
  const auto [line, code] = error_of([&] { resolve_path("no/such.json", folder_); });
  EXPECT_EQ(code, 3);
  EXPECT_EQ(line, "no/such.json: no such file; tried " + (folder_ / "no/such.json").string() + ", no/such.json, " +
                      (product_root() / "no/such.json").string());
}

TEST_F(JsonFile, ARelativePathIsFirstSoughtBesideTheFileThatNamesIt) {
  const fs::path path = write("{}");
  EXPECT_EQ(resolve_path("x.json", folder_), path);
  EXPECT_EQ(resolve_path(path.string(), "/"), path);
}

TEST(ProductRoot, FollowsTheEnvironment) {
  const char* const before = std::getenv("MOESIM_ROOT");
  const std::string saved = before ? before : "";
  setenv("MOESIM_ROOT", "/some/where", 1);
  EXPECT_EQ(product_root(), fs::path("/some/where"));
  if (before) {
    setenv("MOESIM_ROOT", saved.c_str(), 1);
  } else {
    unsetenv("MOESIM_ROOT");
  }
  EXPECT_FALSE(product_root().empty());
}

}  // namespace
}  // namespace moesim
