// Queues with known waits, simulated with the event queue, the random streams and the statistics of the product.
// Sources: Kleinrock, "Queueing Systems", volume 1 (M/M/1, M/M/c, M/G/1 by Pollaczek and Khinchine); Little 1961.

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <deque>
#include <functional>
#include <vector>

#include "core/random.h"
#include "core/statistics.h"
#include "engine/event_queue.h"

namespace moesim {
namespace {

struct Observed {
  std::vector<double> waits;    // seconds from arrival to start of service, in order of arrival
  std::vector<double> lengths;  // time-weighted mean number in the system over equal stretches of time
  WideInteger area = 0;         // of the number in the system, customer picoseconds
  WideInteger sojourns = 0;     // sum of the times from arrival to departure
};

struct Queue {
  double arrivals_per_second;
  int servers = 1;
  std::function<double(Stream&)> service_seconds;
};

/// `customers` through a first-come first-served queue, until the last has left.
Observed simulate(const Queue& system, int customers, std::uint64_t seed) {
  enum Kind : std::uint8_t { departure, arrival, observation };  // at equal times in this order
  Stream gaps(seed, "arrivals");
  Stream services(seed, "services");
  EventQueue<Kind> events;
  const auto gap = [&] { return Duration::from_seconds(gaps.exponential() / system.arrivals_per_second); };
  // 200 stretches over the expected duration.
  const Duration stretch = Duration::from_seconds(customers / system.arrivals_per_second / 200);
  Observed seen;
  std::deque<Instant> waiting;
  TimeWeighted<std::int64_t> number, stretch_number;
  int busy = 0, arrived = 0;
  const auto start = [&](Instant now) {
    const Duration service = Duration::from_seconds(system.service_seconds(services));
    seen.waits.push_back((now - waiting.front()).seconds());
    seen.sojourns += (now - waiting.front() + service).ps();
    waiting.pop_front();
    ++busy;
    events.schedule(now + service, departure, departure);
  };
  events.schedule(Instant{} + gap(), arrival, arrival);
  events.schedule(Instant{} + stretch, observation, observation);
  while (!events.empty()) {
    const auto [now, handle, kind] = events.pop();
    switch (kind) {
      case arrival:
        waiting.push_back(now);
        number.add(now, 1);
        stretch_number.add(now, 1);
        if (++arrived < customers) events.schedule(now + gap(), arrival, arrival);
        break;
      case departure:
        --busy;
        number.add(now, -1);
        stretch_number.add(now, -1);
        break;
      case observation:
        seen.lengths.push_back(stretch_number.mean(now));
        stretch_number.restart(now);
        if (arrived < customers) events.schedule(now + stretch, observation, observation);
        break;
    }
    if (busy < system.servers && !waiting.empty()) start(now);
  }
  seen.area = number.integral(events.now());
  return seen;
}

constexpr int customers = 400'000;

/// The first tenth is warm-up: it starts from an empty system.
ConfidenceInterval after_warm_up(const std::vector<double>& series) {
  return batch_means(std::span(series).subspan(series.size() / 10));
}

/// A 90% interval misses once in ten; twice its width, 3.5 standard errors of 19 degrees of freedom, once in 400.
bool agree(const ConfidenceInterval& seen, double expected) {
  return std::abs(seen.mean - expected) <= 2 * seen.half_width;
}

double exponential_service(Stream& stream) {
  return stream.exponential();
}

// With service rate 1 and arrivals at rate rho: E[number in system] = rho / (1 - rho), E[wait] = rho / (1 - rho).
TEST(MM1, HasTheKnownLengthAndWait) {
  for (const double rho : {0.3, 0.5, 0.8}) {
    const Observed seen = simulate({rho, 1, exponential_service}, customers, 1);
    const double expected = rho / (1 - rho);
    const ConfidenceInterval wait = after_warm_up(seen.waits);
    const ConfidenceInterval length = after_warm_up(seen.lengths);
    EXPECT_TRUE(agree(wait, expected)) << rho << ": " << wait.mean << " +- " << wait.half_width;
    EXPECT_TRUE(agree(length, expected)) << rho << ": " << length.mean << " +- " << length.half_width;
    // An interval that holds everything would prove nothing.
    EXPECT_LT(wait.half_width, 0.06 * expected);
    EXPECT_LT(length.half_width, 0.06 * expected);
  }
}

// Of 60 independent runs 54 intervals of 90% should hold the known wait, with standard deviation sqrt(60 * 0.9 * 0.1) =
// 2.3; three of them are allowed.
TEST(MM1, LiesInNineOfTenIntervals) {
  const double rho = 0.5;
  int held = 0;
  for (std::uint64_t seed = 100; seed < 160; ++seed)
    held += after_warm_up(simulate({rho, 1, exponential_service}, 20'000, seed).waits).contains(rho / (1 - rho));
  EXPECT_GE(held, 47);
  EXPECT_LT(held, 60);
}

// Sojourns of M/M/1 are exponential with rate 1 - rho: P(wait > x) = rho e^(-(1 - rho) x), so a wait is zero with
// probability 1 - rho and the 0.99 quantile of waits is log(100 rho) / (1 - rho).
TEST(MM1, HasTheKnownTailOfWaits) {
  const double rho = 0.5;
  const Observed seen = simulate({rho, 1, exponential_service}, customers, 2);
  Distribution<double> waits;
  for (const double w : seen.waits) waits.add(w);
  waits.sort();
  EXPECT_NEAR(static_cast<double>(waits.count_at_most(0)) / customers, 1 - rho, 0.01);
  EXPECT_NEAR(waits.quantile(0.99), std::log(100 * rho) / (1 - rho), 0.03 * std::log(100 * rho) / (1 - rho));
}

// Pollaczek and Khinchine with no variance of the service: half the wait of M/M/1, rho / (2 (1 - rho)).
TEST(MD1, WaitsHalfAsLongAsMM1) {
  for (const double rho : {0.5, 0.8}) {
    const Observed seen = simulate({rho, 1, [](Stream&) { return 1.0; }}, customers, 3);
    const double expected = rho / (2 * (1 - rho));
    const ConfidenceInterval wait = after_warm_up(seen.waits);
    EXPECT_TRUE(agree(wait, expected)) << rho << ": " << wait.mean << " +- " << wait.half_width;
    EXPECT_LT(wait.half_width, 0.06 * expected);
  }
}

// Gamma service of shape a and mean 1 has squared variation 1/a: wait (1 + 1/a) / 2 * rho / (1 - rho).
TEST(MG1, FollowsPollaczekAndKhinchine) {
  const double rho = 0.6;
  const double shape = 0.5;
  const Observed seen = simulate({rho, 1, [=](Stream& s) { return s.gamma(shape) / shape; }}, customers, 4);
  const double expected = (1 + 1 / shape) / 2 * rho / (1 - rho);
  const ConfidenceInterval wait = after_warm_up(seen.waits);
  EXPECT_TRUE(agree(wait, expected)) << wait.mean << " +- " << wait.half_width;
  EXPECT_LT(wait.half_width, 0.06 * expected);
}

// Erlang's C: with offered load a = c rho, P(wait) = (a^c / c! / (1 - rho)) / (sum_{k<c} a^k / k! + a^c / c! / (1 -
// rho)) and E[wait] = P(wait) / (c (1 - rho)) mean services.
TEST(MMc, WaitsAsErlangSays) {
  for (const int servers : {2, 5, 16}) {
    const double rho = 0.8;
    const double load = servers * rho;
    double term = 1, sum = 0;
    for (int k = 0; k < servers; ++k) {
      sum += term;
      term *= load / (k + 1);
    }
    const double all_busy = term / (1 - rho) / (sum + term / (1 - rho));
    const double expected = all_busy / (servers * (1 - rho));
    const Observed seen = simulate({load, servers, exponential_service}, customers, 5);
    const ConfidenceInterval wait = after_warm_up(seen.waits);
    EXPECT_TRUE(agree(wait, expected)) << servers << ": " << wait.mean << " +- " << wait.half_width;
    EXPECT_LT(wait.half_width, 0.08 * expected);
  }
}

// Little's law over a stretch that begins and ends empty has no error at all: the integral of the number in the system
// is the sum of the sojourns, picosecond by picosecond.
TEST(LittlesLaw, HoldsToTheLastPicosecond) {
  for (const int servers : {1, 3}) {
    const Observed seen = simulate({0.9 * servers, servers, exponential_service}, 50'000, 6);
    EXPECT_TRUE(seen.area == seen.sojourns);
    EXPECT_GT(static_cast<double>(seen.area), 0);
  }
}

}  // namespace
}  // namespace moesim
