# Writes OUTPUT from INPUT with the commit of SOURCE_DIR, and leaves it alone when it says so already.
#   cmake -DSOURCE_DIR=<root> -DINPUT=commit.cc.in -DOUTPUT=commit.cc [-DCOMMIT=…] -P write_commit.cmake
if(NOT COMMIT)
  execute_process(COMMAND git -C ${SOURCE_DIR} describe --always --dirty --abbrev=12 --exclude=*
                  OUTPUT_VARIABLE COMMIT OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
if(NOT COMMIT)
  set(COMMIT unknown)
endif()
configure_file(${INPUT} ${OUTPUT} @ONLY)
