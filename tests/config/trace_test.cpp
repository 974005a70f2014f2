#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "config/json_reader.h"
#include "config/read_trace.h"

namespace moesim {
namespace {

namespace fs = std::filesystem;

/// A file that holds `text`, gone at the end of the test.
class TraceFile : public testing::Test {
 protected:
  TraceFile() : path_(fs::temp_directory_path() / ("moesim_trace_" + std::to_string(getpid()))) {}
  ~TraceFile() override { fs::remove(path_); }

  Trace read(const std::string& text, const TraceOptions& options) {
    std::ofstream(path_, std::ios::binary) << text;
    return read_trace(path_, options);
  }
  Trace read(const std::string& text, TraceFormat format) { return read(text, TraceOptions{.format = format}); }

  /// What is said about `text`, with "FILE" for the name of the file; the exit code must be 4.
  std::string error(const std::string& text, const TraceOptions& options) {
    try {
      read(text, options);
    } catch (const ConfigError& problem) {
      EXPECT_EQ(problem.exit_code(), 4);
      return said(problem);
    }
    return "no error";
  }
  std::string error(const std::string& text, TraceFormat format) { return error(text, TraceOptions{.format = format}); }

  std::string said(const ConfigError& problem) {
    std::string line = problem.what();
    for (std::size_t at; (at = line.find(path_.string())) != std::string::npos;) {
      line.replace(at, path_.string().size(), "FILE");
    }
    EXPECT_EQ(line.find('\n'), std::string::npos) << line;
    return line;
  }

  fs::path path_;
};

Instant at_ps(std::int64_t ps) {
  return Instant::at(Duration::picoseconds(ps));
}

const std::string header = "arrival_s,input_tokens,output_tokens\n";

TEST_F(TraceFile, CsvKeepsDecimalSecondsExactly) {
  const Trace trace = read(header + "0.0000,374,44\n4.3146,396,109\n100000.123456789012,1,1\n", TraceFormat::csv);
  ASSERT_EQ(trace.requests.size(), 3u);
  EXPECT_EQ(trace.requests[1].arrival, at_ps(4'314'600'000'000));
  EXPECT_EQ(trace.requests[1].input_tokens, 396);
  EXPECT_EQ(trace.requests[1].output_tokens, 109);
  EXPECT_EQ(trace.requests[2].arrival, at_ps(100'000'123'456'789'012));
  EXPECT_TRUE(trace.notes.empty());
}

TEST_F(TraceFile, ColumnsAreFoundByNameInAnyOrder) {
  const Trace trace = read("client,output_tokens,arrival_s,input_tokens\n7,20,1.5,10\n", TraceFormat::csv);
  EXPECT_EQ(trace.requests[0].arrival, at_ps(1'500'000'000'000));
  EXPECT_EQ(trace.requests[0].input_tokens, 10);
  EXPECT_EQ(trace.requests[0].output_tokens, 20);
}

TEST_F(TraceFile, ByteOrderMarkCarriageReturnsBlankLinesAndQuotesAreReadOver) {
  const Trace trace =
      read("\xEF\xBB\xBF\"arrival_s\",\"input_tokens\",output_tokens,note\r\n1,2,3,\"a, b\"\r\n\r\n2,\"4\",5,",
           TraceFormat::csv);
  ASSERT_EQ(trace.requests.size(), 2u);
  EXPECT_EQ(trace.requests[0].output_tokens, 3);
  EXPECT_EQ(trace.requests[1].input_tokens, 4);
}

TEST_F(TraceFile, SpeedDividesTheTimes) {
  const Trace trace = read(header + "1,1,1\n2.5,1,1\n", TraceOptions{.format = TraceFormat::csv, .speed = 4});
  EXPECT_EQ(trace.requests[0].arrival, at_ps(250'000'000'000));
  EXPECT_EQ(trace.requests[1].arrival, at_ps(625'000'000'000));
  EXPECT_EQ(trace.notes, std::vector<std::string>{"replayed at 4 times its speed"});
}

TEST_F(TraceFile, LimitTakesTheFirstRowsAndReadsNoFurther) {
  const Trace trace = read(header + "1,1,1\n2,1,1\ngarbage\n", TraceOptions{.format = TraceFormat::csv, .limit = 2});
  EXPECT_EQ(trace.requests.size(), 2u);
}

TEST_F(TraceFile, RowsOutOfOrderAreSortedAndTiesKeepTheirOrder) {
  const Trace trace = read(header + "2,1,1\n1,2,1\n1,3,1\n3,4,1\n", TraceFormat::csv);
  std::vector<std::int32_t> order;
  for (const Request& request : trace.requests) order.push_back(request.input_tokens);
  EXPECT_EQ(order, (std::vector<std::int32_t>{2, 3, 1, 4}));
  EXPECT_EQ(trace.notes, std::vector<std::string>{"1 of 4 requests stand after a later one: sorted by arrival"});
}

TEST_F(TraceFile, AzureDatesCountFromTheFirstRequest) {
  // The published columns: seven digits in 2023, six and an offset in 2024.
  const Trace of_2023 = read(
      "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,4808,10\n2023-11-16 "
      "18:17:04.0319600,3180,8\n",
      TraceFormat::azure);
  EXPECT_EQ(of_2023.requests[0].arrival, Instant());
  EXPECT_EQ(of_2023.requests[1].arrival, at_ps(52'000'000'000));
  EXPECT_EQ(of_2023.requests[1].input_tokens, 3180);
  EXPECT_EQ(of_2023.notes, std::vector<std::string>{"time stamps are dates: arrivals count from the first request"});

  // 2024 is a leap year: from 28 February 23:59:59.5 to 1 March it is a day and half a second.
  const Trace of_2024 = read(
      "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-02-28 23:59:59.500000+00:00,1,1\n2024-03-01 02:00:00+02:00,1,1\n",
      TraceFormat::azure);
  EXPECT_EQ(of_2024.requests[1].arrival, at_ps(86'400'500'000'000'000));
}

TEST_F(TraceFile, AzureAlsoComesAsSeconds) {
  EXPECT_EQ(read(header + "0.0520,3180,8\n", TraceFormat::azure).requests[0].arrival, at_ps(52'000'000'000));
}

TEST_F(TraceFile, BurstGptLeavesOutFailedRequestsAndCountsThem) {
  const Trace trace = read(
      "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
      "5,1,12.4,ChatGPT,472,18,490,Conversation log\n45,,,ChatGPT,1087,0,1087,API log\n118,,,GPT-4,417,276,693,API "
      "log\n",
      TraceFormat::burstgpt);
  ASSERT_EQ(trace.requests.size(), 2u);
  EXPECT_EQ(trace.requests[0].arrival, Instant::at(Duration::seconds(5)));
  EXPECT_EQ(trace.requests[1].output_tokens, 276);
  EXPECT_EQ(trace.notes, std::vector<std::string>{
                             "1 of 3 requests have no input or output tokens (failed when recorded): left out"});
  // The first version has no session and no elapsed time.
  EXPECT_EQ(read("Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,ChatGPT,472,18,490,API log\n",
                 TraceFormat::burstgpt)
                .requests[0]
                .input_tokens,
            472);
}

std::string mooncake(const std::string& time, int input) {
  return R"({"timestamp":)" + time + R"(,"input_length":)" + std::to_string(input) +
         R"(,"output_length":52,"hash_ids":[46,{"output_length":1},[47]]})" + "\n";
}

TEST_F(TraceFile, MooncakeCountsMilliseconds) {
  const Trace trace = read(mooncake("27482", 6955), TraceFormat::mooncake);
  EXPECT_EQ(trace.requests[0].arrival, Instant::at(Duration::milliseconds(27'482)));
  EXPECT_EQ(trace.requests[0].input_tokens, 6955);
  EXPECT_EQ(trace.requests[0].output_tokens, 52);
  EXPECT_EQ(read(mooncake("2", 1), TraceOptions{.format = TraceFormat::mooncake, .time_unit = "s"}).requests[0].arrival,
            Instant::at(Duration::seconds(2)));
}

TEST_F(TraceFile, MooncakeTicksAreSpreadEvenlyAndSaid) {
  // Stamps 0, 3, 4, 13 s: the usual gap is 3 s. Three at 0 come at 0, 1, 2; two at 3 have a second; two at 4 have a
  // tick although the next stamp is further; the last ones too.
  const Trace trace =
      read(mooncake("0", 1) + mooncake("0", 2) + mooncake("0", 3) + mooncake("3000", 4) + mooncake("3000", 5) +
               mooncake("4000", 6) + mooncake("4000", 7) + mooncake("13000", 8) + mooncake("13000", 9),
           TraceFormat::mooncake);
  std::vector<double> seconds;
  for (const Request& request : trace.requests) seconds.push_back(request.arrival.seconds());
  EXPECT_EQ(seconds, (std::vector<double>{0, 1, 2, 3, 3.5, 4, 5.5, 13, 14.5}));
  EXPECT_EQ(trace.notes, std::vector<std::string>{
                             "time stamps come in ticks of 3 s with 2.2 requests each: spread evenly over the tick"});
}

TEST_F(TraceFile, FineMooncakeStampsStayWhereTheyAre) {
  const Trace trace =
      read(mooncake("0", 1) + mooncake("0", 2) + mooncake("10", 3) + mooncake("10", 4), TraceFormat::mooncake);
  EXPECT_EQ(trace.requests[1].arrival, Instant());
  EXPECT_TRUE(trace.notes.empty());
}

TEST_F(TraceFile, MooncakeStampsWithFractionsAreDoubted) {
  const Trace trace = read(mooncake("0.5", 1), TraceFormat::mooncake);
  EXPECT_EQ(trace.requests[0].arrival, Instant::at(Duration::microseconds(500)));
  EXPECT_EQ(trace.notes,
            std::vector<std::string>{"time stamps have fractions but count as ms, as Mooncake writes them; "
                                     "if they are seconds, give time_unit"});
}

TEST_F(TraceFile, JsonLinesNeedATimeUnitUnlessTheNameHasIt) {
  const std::string line = R"({"timestamp": 1700000000.25, "input_tokens": 5, "output_tokens": 6, "user": "x"})";
  EXPECT_EQ(error(line, TraceFormat::jsonl), "FILE:1: timestamp may count s or ms: give time_unit (s, ms, us or ns)");
  const Trace trace = read(line + "\n" + R"({"timestamp": 1700000002, "input_tokens": 5, "output_tokens": 6})",
                           TraceOptions{.format = TraceFormat::jsonl, .time_unit = "s"});
  EXPECT_EQ(trace.requests[1].arrival, at_ps(1'750'000'000'000));
  EXPECT_EQ(
      read(R"({"arrival_s": 2.5e0, "input_length": 5, "output_length": 6})", TraceFormat::jsonl).requests[0].arrival,
      at_ps(2'500'000'000'000));
}

TEST_F(TraceFile, AFormatIsRecognisedByItsFirstLine) {
  const auto recognised = [&](const std::string& text) {
    std::ofstream(path_, std::ios::binary) << text;
    return recognised_trace_format(path_);
  };
  EXPECT_EQ(recognised(mooncake("0", 1)), TraceFormat::mooncake);
  EXPECT_EQ(recognised(R"({"timestamp": 1, "input_length": 5, "output_length": 6})"), TraceFormat::jsonl);
  EXPECT_EQ(recognised("TIMESTAMP,ContextTokens,GeneratedTokens\n"), TraceFormat::azure);
  EXPECT_EQ(recognised("Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"),
            TraceFormat::burstgpt);
  EXPECT_EQ(recognised(header), TraceFormat::csv);
  EXPECT_EQ(trace_format_from_name("burstgpt"), TraceFormat::burstgpt);
  EXPECT_EQ(trace_format_from_name("BurstGPT"), std::nullopt);
  EXPECT_EQ(name(TraceFormat::jsonl), "jsonl");
}

TEST_F(TraceFile, SaysWhatIsWrongAndWhere) {
  const TraceFormat csv = TraceFormat::csv;
  EXPECT_EQ(error("", csv), "FILE: is empty; expected a header and requests");
  EXPECT_EQ(error("", TraceFormat::mooncake), "FILE: holds no requests");
  EXPECT_EQ(error(header, csv), "FILE: holds no requests");
  EXPECT_EQ(error("arrival_s,input_tokens\n1,2\n", csv),
            "FILE:1: no column output_tokens in the header of this csv trace; its columns are arrival_s, input_tokens");
  EXPECT_EQ(error(header + "1,2\n", csv), "FILE:2: a row of 2; the header has 3 columns");
  EXPECT_EQ(error(header + "\n1,2,x3\n", csv), "FILE:3: output_tokens: expected a whole number of tokens, got \"x3\"");
  EXPECT_EQ(error(header + "1,2,\n", csv), "FILE:2: output_tokens: expected a whole number of tokens, got nothing");
  EXPECT_EQ(error(header + "1,-2,3\n", csv), "FILE:2: input_tokens: -2 tokens; expected 1 to 2147483647");
  EXPECT_EQ(error(header + "1,0,3\n", csv), "FILE:2: input_tokens: 0 tokens; expected 1 to 2147483647");
  EXPECT_EQ(error(header + "1,3000000000,3\n", csv),
            "FILE:2: input_tokens: 3000000000 tokens; expected 1 to 2147483647");
  EXPECT_EQ(error(header + "-1,2,3\n", csv), "FILE:2: arrival_s: -1 is before the start; expected 0 or more");
  EXPECT_EQ(error(header + "nan,2,3\n", csv), "FILE:2: arrival_s: expected a number, got \"nan\"");
  EXPECT_EQ(error(header + "0,2,3\n5e6,2,3\n", csv),
            "FILE:3: arrival_s: 5e6 is more than 52 days after the start at this speed; raise speed or limit the rows");
  EXPECT_EQ(error("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-02-29 18:17:03.9,4808,10\n", TraceFormat::azure),
            "FILE:2: TIMESTAMP: expected a date such as 2023-11-16 18:17:03.9799600, got \"2023-02-29 18:17:03.9\"");
  EXPECT_EQ(error(header + "1,2,3\n", TraceOptions{.format = csv, .time_unit = "min"}),
            "FILE: time_unit \"min\"; expected s, ms, us or ns");
  EXPECT_EQ(error(header + "1,2,3\n", TraceOptions{.format = csv, .time_unit = "ms"}),
            "FILE: time_unit: arrival_s is in seconds; leave time_unit out or name the column timestamp");
  EXPECT_EQ(error("\x1f\x8b\x08", csv), "FILE: is compressed; unpack it first: gunzip -k FILE");
}

TEST_F(TraceFile, SaysWhereAJsonLineBreaks) {
  EXPECT_EQ(error(mooncake("0", 1) + R"({"timestamp":27482,"input_length":69)", TraceFormat::mooncake),
            "FILE:2: broken JSON at column 37: unexpected end of input; expected '}'");
  EXPECT_EQ(error("[1]", TraceFormat::mooncake), "FILE:1: expected a JSON object");
  EXPECT_EQ(error(R"({"timestamp":1,"input_length":2})", TraceFormat::mooncake),
            "FILE:1: no output_length in this line of a mooncake trace");
  EXPECT_EQ(error(R"({"timestamp":1,"input_length":2.5,"output_length":[]})", TraceFormat::mooncake),
            "FILE:1: input_length: expected a whole number of tokens, got \"2.5\"");
  EXPECT_EQ(error(R"({"timestamp":"1","input_length":2,"output_length":1})", TraceFormat::mooncake),
            "FILE:1: timestamp: expected a number, got \"1\"");
}

TEST_F(TraceFile, RefusesALineOfTwoMegabytesWithoutReadingOn) {
  EXPECT_EQ(error(header + "1,2,3\n" + std::string(std::size_t{2} << 20, '7'), TraceFormat::csv),
            "FILE:3: the line is longer than 1 MiB");
}

TEST_F(TraceFile, NamesTheLastLineOfALongTrace) {
  // Over the buffer of a megabyte and more.
  std::string text = header;
  for (int i = 0; i < 200'000; ++i) text += "1,2,3\n";
  EXPECT_EQ(read(text, TraceFormat::csv).requests.size(), 200'000u);
  EXPECT_EQ(error(text + "1,2,three\n", TraceFormat::csv),
            "FILE:200002: output_tokens: expected a whole number of tokens, got \"three\"");
}

TEST_F(TraceFile, MissingFilesAndFoldersExitWithThree) {
  for (const fs::path& path : {path_, fs::temp_directory_path()}) {
    try {
      read_trace(path, {});
      ADD_FAILURE() << "no error";
    } catch (const ConfigError& problem) {
      EXPECT_EQ(problem.exit_code(), 3) << problem.what();
    }
  }
}

TEST_F(TraceFile, LengthsComeFromOneColumn) {
  std::ofstream(path_) << "input_tokens,output_tokens\n74,918\n290,905\n";
  EXPECT_EQ(read_lengths_file(path_, "output_tokens"), (std::vector<std::int32_t>{918, 905}));
  try {
    read_lengths_file(path_, "output");
    ADD_FAILURE() << "no error";
  } catch (const ConfigError& problem) {
    EXPECT_EQ(said(problem), "FILE:1: no column output; the columns are input_tokens, output_tokens");
  }
  std::ofstream(path_) << "tokens\n3\n0\n";
  try {
    read_lengths_file(path_, "");
    ADD_FAILURE() << "no error";
  } catch (const ConfigError& problem) {
    EXPECT_EQ(said(problem), "FILE:3: tokens: 0 tokens; expected 1 to 2147483647");
  }
}

struct Totals {
  std::size_t requests = 0;
  std::int64_t input = 0, output = 0;
};

Totals totals(const Trace& trace) {
  Totals sum{.requests = trace.requests.size()};
  for (const Request& request : trace.requests) {
    sum.input += request.input_tokens;
    sum.output += request.output_tokens;
  }
  return sum;
}

fs::path shared_trace(const std::string& file) {
  return fs::path(MOESIM_SHARED_DATA) / "workloads" / file;
}

TEST(PublishedTraces, AzureConversation2023IsReadWhole) {
  // Azure/AzurePublicDataset, AzureLLMInferenceTrace_conv.csv: 19,366 requests, mean lengths 1155 and 211.
  const fs::path path = shared_trace("azure_2023_conv.csv");
  if (!fs::exists(path)) GTEST_SKIP() << "needs " << path;
  const Totals sum = totals(read_trace(path, {.format = recognised_trace_format(path)}));
  EXPECT_EQ(sum.requests, 19'366u);
  EXPECT_NEAR(static_cast<double>(sum.input) / 19'366, 1155, 0.5);
  EXPECT_NEAR(static_cast<double>(sum.output) / 19'366, 211, 0.5);
}

TEST(PublishedTraces, MooncakeConversationIsReadWholeWithItsTicksSpread) {
  // kvcache-ai/Mooncake, FAST25-release: 12,031 requests, mean lengths 12035 and 343, 3 s ticks of ten.
  const fs::path path = shared_trace("mooncake_conversation.jsonl");
  if (!fs::exists(path)) GTEST_SKIP() << "needs " << path;
  const Trace trace = read_trace(path, {.format = recognised_trace_format(path)});
  const Totals sum = totals(trace);
  EXPECT_EQ(sum.requests, 12'031u);
  EXPECT_NEAR(static_cast<double>(sum.input) / 12'031, 12'035, 0.5);
  EXPECT_NEAR(static_cast<double>(sum.output) / 12'031, 343, 0.5);
  EXPECT_EQ(trace.notes, std::vector<std::string>{
                             "time stamps come in ticks of 3 s with 10.2 requests each: spread evenly over the tick"});
  for (std::size_t i = 1; i < trace.requests.size(); ++i) {
    ASSERT_LT(trace.requests[i - 1].arrival, trace.requests[i].arrival) << i;
  }
}

}  // namespace
}  // namespace moesim
