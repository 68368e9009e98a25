#include "server/mime_type.h"

#include <gtest/gtest.h>

namespace tessera {
namespace {

TEST(MimeTypeTest, NamesThatClientsSend) {
  for (const char* name : {"image/jpeg", "image/jpg", "IMAGE/JPEG", "Image/Jpg; q=0.8",
                           " image/pjpeg ", "image/jpeg;charset=binary"}) {
    EXPECT_EQ(ImageType(name), "image/jpeg") << name;
  }
  EXPECT_EQ(ImageType("image/x-png"), "image/png");
  EXPECT_EQ(ImageType("image/WebP"), "image/webp");
  for (const char* name :
       {"", "application/octet-stream", "Application/Octet-Stream; x=y", "binary/octet-stream"}) {
    EXPECT_EQ(ImageType(name), "") << name;
  }
  for (const char* name : {"image/gif", "text/html", "image", "image/jpegs"}) {
    EXPECT_EQ(ImageType(name), std::nullopt) << name;
  }
}

}  // namespace
}  // namespace tessera
