#include "client/chat.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

#include "client/answer.h"
#include "client/answer_printer.h"
#include "client/file.h"
#include "client/message_file.h"
#include "client/prompt.h"
#include "client/terminal.h"
#include "client/utf8.h"

namespace tessera {
namespace {

constexpr std::string_view kHelp =
    "/image PATH  adds an image to the next question\n"
    "/clear       forgets the conversation\n"
    "/regen       asks the last question again\n"
    "/save FILE   writes the conversation as JSON, as generate --messages reads it\n"
    "/exit        leaves, as Ctrl-D does\n"
    "Ctrl-C stops an answer; again at the prompt, it leaves.\n";

int Images(const v1::Message& message) {
  int count = 0;
  for (const v1::Part& part : message.parts()) count += part.has_image();
  return count;
}

}  // namespace

Chat::Chat(Client& client, const v1::GenerateRequest& base, absl::Duration timeout,
           const Interrupts& interrupts)
    : client_(client),
      request_(base),
      timeout_(timeout),
      interrupts_(interrupts),
      lines_(STDIN_FILENO, interrupts),
      interactive_(IsTerminal(STDIN_FILENO)) {}

void Chat::SetSystem(const std::string& text) {
  *request_.mutable_conversation()->add_messages() = TextMessage(v1::ROLE_SYSTEM, text);
}

absl::Status Chat::AddImage(const std::string& path) {
  absl::StatusOr<v1::Image> image = LoadImage(path);
  if (!image.ok()) return image.status();
  next_images_.push_back(*std::move(image));
  next_image_paths_.push_back(path);
  return absl::OkStatus();
}

ExitCode Chat::Run() {
  const absl::StatusOr<v1::Model> model =
      client_.GetModel(request_.model(), {.timeout = absl::Seconds(10)});
  if (!model.ok()) return FailCall(model.status());
  Say(Dim(fmt::format("{} on {}; /help tells more", model->name(), model->device())) + "\n");
  std::string line;
  while (true) {
    Say("> ");
    const LineReader::Result result = lines_.Next(&line);
    if (result == LineReader::Result::kEnd) {
      Say("\n");
      return interactive_ ? ExitCode::kOk : first_failure_;
    }
    if (result == LineReader::Result::kInterrupted) {
      Say("\n");
      if (++interrupts_taken_ > 1 || !interactive_) return ExitCode::kInterrupted;
      Say(Dim("Ctrl-C again or Ctrl-D leaves") + "\n");
      continue;
    }
    interrupts_taken_ = 0;
    if (!TakeLine(line)) return interactive_ ? ExitCode::kOk : first_failure_;
  }
}

bool Chat::TakeLine(const std::string& line) {
  if (line.find_first_not_of(" \t") == std::string::npos) return true;
  if (line.front() != '/') {
    if (const absl::Status status = CheckUtf8("the question", line); !status.ok()) {
      ReportUsage(status);
    } else {
      AskQuestion(line);
    }
    return true;
  }
  const size_t space = line.find(' ');
  const size_t start = line.find_first_not_of(' ', space);
  return TakeCommand(std::string_view(line).substr(0, space),
                     start == std::string::npos ? "" : line.substr(start));
}

bool Chat::TakeCommand(std::string_view command, const std::string& argument) {
  if (command == "/exit") return false;
  if (command == "/image") {
    ReportUsage(AddImage(argument));
  } else if (command == "/clear") {
    Clear();
  } else if (command == "/regen") {
    Regenerate();
  } else if (command == "/save") {
    ReportUsage(SaveConversation(request_.conversation(), image_paths_, argument));
  } else if (command == "/help") {
    std::fputs(std::string(kHelp).c_str(), stderr);
  } else {
    ReportUsage(absl::InvalidArgumentError(
        fmt::format("{} is unknown; /help lists the commands", command)));
  }
  return true;
}

void Chat::AskQuestion(const std::string& text) {
  *request_.mutable_conversation()->add_messages() = UserMessage(next_images_, text);
  image_paths_.insert(image_paths_.end(), next_image_paths_.begin(), next_image_paths_.end());
  next_images_.clear();
  next_image_paths_.clear();
  if (!TakeAnswer()) DropQuestion();
}

bool Chat::TakeAnswer() {
  Answer answer;
  absl::Status order;
  const StopOnInterrupt interrupt(interrupts_);
  AnswerPrinter printer(AnswerPrinter::Style::kText);
  absl::Status status =
      client_.StreamGenerate(request_, {.timeout = timeout_, .stop = interrupt.token()},
                             [&](const v1::StreamGenerateResponse& event) {
                               order.Update(answer.Add(event));
                               if (event.has_delta()) printer.PrintText(event.delta().text());
                             });
  status.Update(order);
  if (status.ok()) status = answer.CheckComplete();
  if (status.ok()) {
    printer.Finish(answer.response().usage());
  } else {
    printer.Abort();
    if (interrupt.interrupted()) {
      ++interrupts_taken_;
    } else {
      ReportCall(status);
    }
  }
  // What was said before an interrupt stays said.
  const std::string& text = answer.response().text();
  if (text.empty() || !(status.ok() || interrupt.interrupted())) return false;
  *request_.mutable_conversation()->add_messages() = TextMessage(v1::ROLE_ASSISTANT, text);
  return true;
}

void Chat::Regenerate() {
  auto* messages = request_.mutable_conversation()->mutable_messages();
  if (messages->empty() || messages->rbegin()->role() != v1::ROLE_ASSISTANT) {
    ReportUsage(absl::InvalidArgumentError("there is no answer yet"));
    return;
  }
  v1::Message old = *messages->rbegin();
  messages->RemoveLast();
  if (!TakeAnswer()) *messages->Add() = std::move(old);
}

void Chat::Clear() {
  auto* messages = request_.mutable_conversation()->mutable_messages();
  while (!messages->empty() && messages->rbegin()->role() != v1::ROLE_SYSTEM)
    messages->RemoveLast();
  image_paths_.clear();
  next_images_.clear();
  next_image_paths_.clear();
}

void Chat::DropQuestion() {
  auto* messages = request_.mutable_conversation()->mutable_messages();
  image_paths_.resize(image_paths_.size() - static_cast<size_t>(Images(*messages->rbegin())));
  messages->RemoveLast();
}

void Chat::ReportCall(const absl::Status& status) {
  if (status.ok()) return;
  const ExitCode code = FailCall(status);
  if (first_failure_ == ExitCode::kOk) first_failure_ = code;
}

void Chat::ReportUsage(const absl::Status& status) {
  if (status.ok()) return;
  const ExitCode code = FailUsage(status);
  if (first_failure_ == ExitCode::kOk) first_failure_ = code;
}

void Chat::Say(std::string_view text) const {
  if (!interactive_) return;
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

}  // namespace tessera
