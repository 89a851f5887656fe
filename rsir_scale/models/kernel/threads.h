// Equal parts of a piece of work, each in a thread.
#pragma once

#include <algorithm>
#include <cstdint>
#include <system_error>
#include <thread>
#include <vector>

namespace rsir {

// Calls work(part, begin, end) for equal parts of `count`, each in a thread; where no more threads can be made, this one
// does what is left.
template <typename Work>
void in_parts(int64_t threads, int64_t count, int64_t unit, const Work& work) {
  const int64_t units = (count + unit - 1) / unit, parts = std::max<int64_t>(1, std::min(threads, units));
  const auto start = [&](int64_t part) { return std::min(count, units * part / parts * unit); };
  std::vector<std::thread> others;
  others.reserve(parts);
  int64_t given = 1;
  try {
    for (; given < parts; ++given) others.emplace_back(work, given, start(given), start(given + 1));
  } catch (const std::system_error&) {
  }
  work(int64_t(0), int64_t(0), start(1));
  for (int64_t part = given; part < parts; ++part) work(part, start(part), start(part + 1));
  for (std::thread& other : others) other.join();
}

}  // namespace rsir
