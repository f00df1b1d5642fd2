#include "model/trial.h"

#include <algorithm>
#include <chrono>

namespace larder::model {

std::vector<size_t> shrink(const Trial& trial, std::vector<size_t> chosen, unsigned seconds_max) {
  using std::chrono::steady_clock;
  const auto until = steady_clock::now() + std::chrono::seconds(seconds_max);
  // Halves, quarters ... down to single operations are left out while it still fails.
  for (size_t part = chosen.size() / 2; part > 0; part /= 2) {
    for (size_t from = 0; from < chosen.size() && chosen.size() > 1;) {
      if (steady_clock::now() > until) return chosen;
      std::vector<size_t> fewer(chosen.begin(), chosen.begin() + static_cast<ptrdiff_t>(from));
      const size_t to = std::min(chosen.size(), from + part);
      fewer.insert(fewer.end(), chosen.begin() + static_cast<ptrdiff_t>(to), chosen.end());
      if (!fewer.empty() && trial.run(fewer, true).failure.has_value())
        chosen = std::move(fewer);
      else
        from = to;
    }
  }
  return chosen;
}

}  // namespace larder::model
