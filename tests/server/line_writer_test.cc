// A reader that does not read costs lines and nothing else.
#include "server/line_writer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace tessera {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

std::string Note(uint64_t count) { return fmt::format("{} dropped\n", count); }

// A pipe of the smallest size, whose other end the test reads when it likes. The writer's end stays
// open, as it must.
class Pipe {
 public:
  Pipe() {
    EXPECT_EQ(pipe(ends_), 0);
    fcntl(ends_[1], F_SETPIPE_SZ, 4096);
  }
  ~Pipe() { CloseReader(); }

  int in() const { return ends_[1]; }
  void Fill() const {
    const int flags = fcntl(in(), F_GETFL);
    fcntl(in(), F_SETFL, flags | O_NONBLOCK);
    while (write(in(), "x", 1) == 1) {
    }
    fcntl(in(), F_SETFL, flags);
  }
  std::string Read() const {
    std::string text(4096, '\0');
    const ssize_t bytes = read(ends_[0], text.data(), text.size());
    text.resize(bytes > 0 ? static_cast<size_t>(bytes) : 0);
    return text;
  }
  // All until a text ends with `end`.
  std::string ReadUntil(const std::string& end) const {
    std::string text;
    while (!text.ends_with(end)) text += Read();
    return text;
  }
  void CloseReader() {
    if (ends_[0] >= 0) close(ends_[0]);
    ends_[0] = -1;
  }

 private:
  int ends_[2];
};

TEST(LineWriterTest, WritesLinesInTheirOrder) {
  const Pipe pipe;
  LineWriter writer(pipe.in(), {}, Note);
  for (int i = 0; i < 100; ++i) writer.Add(fmt::format("{}\n", i));
  const std::string text = pipe.ReadUntil("99\n");
  std::string expected;
  for (int i = 0; i < 100; ++i) expected += fmt::format("{}\n", i);
  EXPECT_EQ(text, expected);
  EXPECT_TRUE(writer.Flush(std::chrono::seconds(5)));
  EXPECT_EQ(writer.dropped(), 0u);
}

TEST(LineWriterTest, AFullPipeNeverHoldsWhoAdds) {
  const Pipe pipe;
  pipe.Fill();
  LineWriter writer(pipe.in(), {.lines = 100, .bytes = 1 << 20}, Note);
  const auto start = steady_clock::now();
  std::vector<std::jthread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&writer] {
      for (int line = 0; line < 5000; ++line) writer.Add(std::string(100, 'y') + '\n');
    });
  }
  threads.clear();
  EXPECT_LT(steady_clock::now() - start, std::chrono::seconds(5));
  EXPECT_FALSE(writer.Flush(milliseconds(20)));
  EXPECT_GE(writer.dropped(), 20000u - 101);
}

// A line that does not fit into the pipe; once a part of it has come the writer waits with the
// rest.
void AddAndAwaitTheWriter(LineWriter& writer, const Pipe& pipe) {
  writer.Add(std::string(5 * 4096, 'x') + '\n');
  EXPECT_FALSE(pipe.Read().empty());
}

TEST(LineWriterTest, DroppedLinesAreToldWhereTheyWere) {
  const Pipe pipe;
  LineWriter writer(pipe.in(), {.lines = 3, .bytes = 1 << 20}, Note);
  AddAndAwaitTheWriter(writer, pipe);
  for (int i = 0; i < 10; ++i) writer.Add(fmt::format("{}\n", i));
  EXPECT_EQ(writer.dropped(), 7u);
  EXPECT_TRUE(pipe.ReadUntil("9\n").ends_with("x\n7 dropped\n7\n8\n9\n"));
}

TEST(LineWriterTest, BytesAreBoundedAndTheNewestLineStays) {
  const Pipe pipe;
  LineWriter writer(pipe.in(), {.lines = 1000, .bytes = 100}, Note);
  AddAndAwaitTheWriter(writer, pipe);
  for (int i = 0; i < 20; ++i) writer.Add(std::string(49, 'a') + '\n');
  EXPECT_EQ(writer.dropped(), 18u);
  const std::string huge = std::string(1000, 'b') + '\n';
  writer.Add(huge);
  EXPECT_EQ(writer.dropped(), 20u);
  EXPECT_TRUE(pipe.ReadUntil("b\n").ends_with("x\n20 dropped\n" + huge));
}

TEST(LineWriterTest, EndsInASecondWhenNobodyReads) {
  const Pipe pipe;
  pipe.Fill();
  std::optional<LineWriter> writer;
  writer.emplace(pipe.in(), LineWriter::Limits(), Note);
  writer->Add("never read\n");
  const auto start = steady_clock::now();
  writer.reset();
  EXPECT_GE(steady_clock::now() - start, milliseconds(900));
  EXPECT_LT(steady_clock::now() - start, std::chrono::seconds(3));
}

TEST(LineWriterTest, TheEndWaitsForAReaderThatIsSlow) {
  const Pipe pipe;
  pipe.Fill();
  std::string text;
  std::jthread reader([&] {
    std::this_thread::sleep_for(milliseconds(200));
    text = pipe.ReadUntil("last\n");
  });
  {
    LineWriter writer(pipe.in(), {}, Note);
    writer.Add("last\n");
  }
  reader.join();
  EXPECT_TRUE(text.ends_with("last\n"));
}

TEST(LineWriterTest, AReaderThatIsGoneCostsLinesOnly) {
  Pipe pipe;
  pipe.CloseReader();
  LineWriter writer(pipe.in(), {}, Note);
  writer.Add("nobody\n");
  writer.Add("nobody\n");
  EXPECT_TRUE(writer.Flush(std::chrono::seconds(5)));
  EXPECT_EQ(writer.dropped(), 2u);
}

}  // namespace
}  // namespace tessera
