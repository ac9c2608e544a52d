// cache_worker URL [OPTIONS]: obeys commands, one a line; worker.cc lists them. Ends when its input does.
#include <iostream>

#include "answer.h"
#include "worker.h"

int main(int argc, char** argv) {
  using namespace reprise;
  const auto options = e2e::read_worker_options(argc, argv);
  if (!options) {
    std::cerr << options.error().message << "\n";
    return 2;
  }
  auto cache = open(options->url, options->cache);
  if (!cache) {
    e2e::Answer().add("error", to_string(cache.error().code)).add("text", cache.error().message).say();
    return 1;
  }
  e2e::Answer().add("open", options->url).say();
  e2e::Worker worker(*options, std::move(*cache));
  for (std::string line; std::getline(std::cin, line);) {
    if (!worker.obey(line)) e2e::Answer().add("error", "usage").add("text", line).say();
  }
  return 0;
}
