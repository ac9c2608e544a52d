#include "bench/attached/rig.h"

#include <algorithm>
#include <utility>

#include "bench/fixture/threads.h"

namespace reprise::bench {

std::string size_text(std::size_t bytes) {
  return bytes >= 1ULL << 20 ? std::to_string(bytes >> 20) + " MiB" : std::to_string(bytes >> 10) + " KiB";
}

std::string RigShape::text() const {
  return size_text(block) + " x " + std::to_string(batch);
}

Result<Sample> mb_per_second(Result<Run> run) {
  if (!run) return std::unexpected(run.error());
  return Sample{run->bytes / run->seconds / 1e6, std::move(run->latency_us)};
}

Result<Sample> cpu_seconds_per_gb(Result<Run> run) {
  if (!run) return std::unexpected(run.error());
  return Sample{run->cpu_seconds / (run->bytes / 1e9), std::move(run->latency_us)};
}

Result<Run> measure(double bytes, const std::function<double()>& cpu_seconds,
                    const std::function<Result<void>(std::vector<double>&)>& work) {
  Run run{.bytes = bytes};
  const double cpu = cpu_seconds(), start = seconds();
  if (Result<void> done = work(run.latency_us); !done) return std::unexpected(done.error());
  run.seconds = seconds() - start;
  run.cpu_seconds = cpu_seconds() - cpu;
  return run;
}

Rig::Rig(const RigShape& shape, Namespace ns, std::size_t chains)
    : shape_(shape),
      ns_(std::move(ns)),
      keys_(5, chains, shape.batch),
      order_(shuffled(chains, 11)),
      passes_(std::max<std::size_t>(1, shape.per_run / (chains * shape.batch * shape.block))),
      caller_(chains * shape.batch * shape.block) {
  for (std::size_t i = 0; i < chains * shape.batch; ++i) write_pattern(caller_.slice(i, shape.block), i);
}

Result<std::unique_ptr<Rig>> Rig::create(const RigShape& shape) {
  Result<Namespace> ns = make_namespace(shape.block);
  if (!ns) return std::unexpected(ns.error());
  const std::size_t per_chain = shape.block * shape.batch;
  const std::size_t chains = std::max<std::size_t>(2, shape.resident / per_chain);
  std::unique_ptr<Rig> rig(new Rig(shape, *std::move(ns), chains));
  auto daemon = Daemon::start(
      {.capacity = chains * per_chain, .populate = shape.populate, .tcp = shape.over_tcp, .more = shape.daemon_args});
  if (!daemon) return std::unexpected(daemon.error());
  rig->daemon_ = *std::move(daemon);
  if (Result<void> done = rig->reattach(); !done) return std::unexpected(done.error());
  return rig;
}

Result<void> Rig::reattach() {
  cache_.reset();
  Result<std::unique_ptr<Cache>> cache = daemon_->attach(shape_.over_tcp, shape_.client);
  if (!cache) return std::unexpected(cache.error());
  cache_ = *std::move(cache);
  return {};
}

Result<void> Rig::fill() {
  if (Result<void> done = put_all(keys_, nullptr); !done) return done;
  for (int pass = 0; pass < 2; ++pass) {
    std::fill_n(caller_.data(), caller_.size(), std::byte{0});
    if (Result<void> done = get_share(0, 1, nullptr); !done) return done;
  }
  for (std::size_t i = 0; i < order_.size() * shape_.batch; ++i) {
    if (!has_pattern(caller_.slice(i, shape_.block), i)) {
      return fail(ErrorCode::kInternal, "block " + std::to_string(i) + " came back with wrong bytes");
    }
  }
  return {};
}

Result<void> Rig::warm_puts() {
  const Result<Run> done = put_passes(2);
  return done ? Result<void>() : std::unexpected(done.error());
}

Result<Run> Rig::run_get(std::size_t threads) {
  return get_passes(passes_, threads);
}
Result<Run> Rig::run_put() {
  return put_passes(passes_);
}
Result<Run> Rig::get_once() {
  return get_passes(1, 1);
}
Result<Run> Rig::put_once() {
  return put_passes(1);
}

Result<Run> Rig::get_passes(std::size_t passes, std::size_t threads) {
  const auto cpu = [this] { return cpu_seconds(); };
  return measure(static_cast<double>(passes * pass_bytes()), cpu, [&](std::vector<double>& latency_us) {
    const auto share = [&](std::size_t thread) -> Result<void> {
      Result<void> done;
      for (std::size_t i = 0; done && i < passes; ++i) {
        done = get_share(thread, threads, threads == 1 ? &latency_us : nullptr);
      }
      return done;
    };
    if (threads == 1) return share(0);
    const Result<double> took = run_threads(threads, share);
    return took ? Result<void>() : std::unexpected(took.error());
  });
}

Result<Run> Rig::put_passes(std::size_t passes) {
  std::vector<KeySet> keys;  // before the clock starts
  for (std::size_t i = 0; i < passes; ++i) keys.emplace_back(++seed_, order_.size(), shape_.batch);
  const auto cpu = [this] { return cpu_seconds(); };
  return measure(static_cast<double>(passes * pass_bytes()), cpu, [&](std::vector<double>& latency_us) {
    Result<void> done;
    for (std::size_t i = 0; done && i < passes; ++i) done = put_all(keys[i], &latency_us);
    return done;
  });
}

Result<void> Rig::get_share(std::size_t thread, std::size_t threads, std::vector<double>* latency_us) {
  std::vector<MutableBytes> out(shape_.batch);
  for (std::size_t at = thread; at < order_.size(); at += threads) {
    const std::size_t chain = order_[at];
    for (std::size_t i = 0; i < shape_.batch; ++i) out[i] = place(chain, i);
    const double start = seconds();
    const Result<Match> got = cache_->get(Chain(ns_, keys_.chain(chain)), 0, out);
    if (latency_us) latency_us->push_back((seconds() - start) * 1e6);
    if (!got) return std::unexpected(got.error());
    if (got->blocks != shape_.batch) {
      return fail(ErrorCode::kInternal, "get answered " + std::to_string(got->blocks) + " of " +
                                            std::to_string(shape_.batch) +
                                            " resident blocks: " + std::string(to_string(got->reason)));
    }
  }
  return {};
}

Result<void> Rig::put_all(const KeySet& keys, std::vector<double>* latency_us) {
  std::vector<Bytes> blocks(shape_.batch);
  for (std::size_t chain = 0; chain < keys.chains(); ++chain) {
    for (std::size_t i = 0; i < shape_.batch; ++i) blocks[i] = place(chain, i);
    const double start = seconds();
    const Result<Stored> stored = cache_->put(Chain(ns_, keys.chain(chain)), 0, blocks);
    if (latency_us) latency_us->push_back((seconds() - start) * 1e6);
    if (!stored) return std::unexpected(stored.error());
    if (stored->accepted != shape_.batch) {
      return fail(ErrorCode::kInternal, "put accepted " + std::to_string(stored->accepted) + " of " +
                                            std::to_string(shape_.batch) +
                                            " new blocks: " + std::string(to_string(stored->reason)));
    }
  }
  return {};
}

std::vector<CopyOp> Rig::get_copies(const Buffer& other) const {
  std::vector<CopyOp> ops;
  for (const std::size_t chain : order_) {
    for (std::size_t i = 0; i < shape_.batch; ++i) {
      const std::size_t block = chain * shape_.batch + i;
      ops.push_back({place(chain, i).data(), other.slice(block, shape_.block).data(), shape_.block});
    }
  }
  return ops;
}

std::vector<CopyOp> Rig::put_copies(const Buffer& other) const {
  std::vector<CopyOp> ops;
  for (std::size_t block = 0; block < order_.size() * shape_.batch; ++block) {
    ops.push_back({other.slice(block, shape_.block).data(), caller_.slice(block, shape_.block).data(), shape_.block});
  }
  return ops;
}

}  // namespace reprise::bench
