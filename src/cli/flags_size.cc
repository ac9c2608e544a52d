// The flags of `reprise size`.
#include <CLI/CLI.hpp>

#include "cli/command.h"
#include "cli/size_command.h"

namespace reprise::cli {
namespace {

constexpr const char* kSizeHelp = "Says how much memory the KV cache of a model takes, from its config.json.";
constexpr const char* kSizeFooter = R"(
Bytes of a token and of a block, on each rank and on all, and what a number of tokens needs. Understands the families of
Llama, Qwen, Mistral, Gemma and DeepSeek (whose compressed KV is the same on every tensor parallel rank), windows, and
multi-modal models around them.

A pod's memory: with P for the pod, E for what the engine takes of the host's memory for each rank, P / TP - E is left
for each rank (--pod-memory, --engine-memory). That is what variables count that set a capacity for each rank;
--l1-capacity of memory that all ranks share is that times the ranks.

Examples:
  reprise size --model Llama-3.1-8B/config.json --tokens 131072 --requests 20
  reprise size --model DeepSeek-V3/config.json --tp 8 --dtype fp8 --capacity 20GiB
  reprise size --model Qwen3-32B --tp 4 --pod-memory 400GiB --engine-memory 30GiB --json

Exit code: 0 told, 2 the file or what was asked cannot be.)";

class SizeFlags final : public Command {
 public:
  explicit SizeFlags(CLI::App& app) : Command(app) {
    SizeArguments& a = arguments_;
    const auto count = [&app](const char* flag, std::uint64_t& value, const char* help) {
      return app.add_option(flag, value, help)
          ->type_name("N")
          ->check(CLI::Range(1UL, 1UL << 40U).description(""))
          ->capture_default_str();
    };
    app.add_option("--model", a.model, "config.json of the model, or its folder")->required()->type_name("FILE");
    count("--tokens", a.tokens, "Tokens of a prompt")->default_str("");
    count("--requests", a.requests, "Prompts of that length that have nothing in common");
    count("--tp", a.deployment.tp, "Tensor parallel ranks");
    count("--pp", a.deployment.pp, "Pipeline parallel ranks");
    count("--block-tokens", a.deployment.block_tokens, "Tokens of a block");
    app.add_option("--dtype", a.deployment.dtype,
                   "Of the KV cache: auto (the model's), bfloat16, float16, float32, fp8")
        ->type_name("TYPE")
        ->capture_default_str();
    app.add_option("--capacity", a.capacity, "Memory for each rank: how many tokens does it hold?")->type_name("SIZE");
    app.add_option("--pod-memory", a.pod_memory, "Memory of a pod, P: what does it leave for each rank?")
        ->type_name("SIZE");
    app.add_option("--engine-memory", a.engine_memory, "E: what the engine takes of it for each rank")
        ->type_name("SIZE");
    app.add_flag("--json", a.json, "One JSON object, on one line");
    app.footer(kSizeFooter);
  }
  int run(const Services& /*services*/, Terminal& terminal, const StopFlag& /*stop*/) override {
    return size_command(arguments_, terminal);
  }

 private:
  SizeArguments arguments_;
};

}  // namespace

std::unique_ptr<Command> declare_size(CLI::App& root) {
  return std::make_unique<SizeFlags>(*root.add_subcommand("size", kSizeHelp));
}

}  // namespace reprise::cli
