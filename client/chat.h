// A conversation at the command line: reads lines, keeps the turns, prints the answers.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/client.h"
#include "client/exit_code.h"
#include "client/interrupt.h"
#include "client/line_reader.h"

namespace tessera {

class Chat {
 public:
  // `base` brings everything but the conversation. `timeout` is for each answer.
  Chat(Client& client, const v1::GenerateRequest& base, absl::Duration timeout,
       const Interrupts& interrupts);

  void SetSystem(const std::string& text);

  // An image for the next question.
  absl::Status AddImage(const std::string& path);

  // Until the user leaves. When standard input is no terminal, the code of the first answer that
  // failed.
  ExitCode Run();

 private:
  // Takes one line; false: the user leaves.
  bool TakeLine(const std::string& line);
  bool TakeCommand(std::string_view command, const std::string& argument);
  void AskQuestion(const std::string& text);
  // Asks for an answer to the turns, the last of which is the user's, and adds it to them; false:
  // there was none.
  bool TakeAnswer();
  // Asks the last question again; the old answer stays if there is no new one.
  void Regenerate();
  // Forgets the turns, not the system text.
  void Clear();
  // Takes back the last question, which got no answer.
  void DropQuestion();
  // Prints what is not OK and keeps the first failure's code.
  void ReportCall(const absl::Status& status);
  void ReportUsage(const absl::Status& status);
  void Say(std::string_view text) const;

  Client& client_;
  v1::GenerateRequest request_;
  absl::Duration timeout_;
  const Interrupts& interrupts_;
  LineReader lines_;
  bool interactive_;
  // Interrupts since the last line.
  int interrupts_taken_ = 0;
  ExitCode first_failure_ = ExitCode::kOk;
  // Of the conversation's images, in order, and of those for the next question.
  std::vector<std::string> image_paths_;
  std::vector<std::string> next_image_paths_;
  std::vector<v1::Image> next_images_;
};

}  // namespace tessera
