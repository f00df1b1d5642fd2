#include "app/nearest.h"

#include <algorithm>
#include <numeric>
#include <vector>

namespace larder::app {
namespace {

// Levenshtein's distance, two rows.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> above(b.size() + 1);
  std::iota(above.begin(), above.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    std::vector<size_t> row(b.size() + 1, i);
    for (size_t j = 1; j <= b.size(); ++j)
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] != b[j - 1])});
    above = std::move(row);
  }
  return above.back();
}

}  // namespace

std::string_view nearest_word(std::string_view word, std::span<const std::string_view> words) {
  std::string_view best;
  size_t best_distance = std::min<size_t>(3, word.size() / 2 + 1);
  for (const std::string_view known : words) {
    const size_t distance = edit_distance(word, known);
    if (distance < best_distance) {
      best = known;
      best_distance = distance;
    }
  }
  return best;
}

}  // namespace larder::app
