# Run by `cmake --install`: UNIT_FILE with the place of the program, which the prefix decides.
file(READ ${UNIT_FILE} UNIT)
string(REPLACE /usr/local/bin ${CMAKE_INSTALL_PREFIX}/bin UNIT "${UNIT}")
set(UNIT_DIR $ENV{DESTDIR}${CMAKE_INSTALL_PREFIX}/lib/systemd/system)
message(STATUS "Installing: ${UNIT_DIR}/tessera.service")
file(WRITE ${UNIT_DIR}/tessera.service "${UNIT}")
