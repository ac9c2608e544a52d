# What others link: libreprise.so, built from the rooms of the library, and its CMake package.
#
# One shared library rather than a static archive per room: whoever links it needs our headers and the C++ library
# only, not OpenSSL, spdlog, xxHash and liburing with matching versions; and none of their symbols, which an engine may
# carry in other versions, leaves it (cmake/exports.map). docs/decisions/0009-one-shared-library.md has the rest.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# Without the room that holds reprise::open there is nothing to export.
if(NOT TARGET reprise_client)
  message(STATUS "reprise: no src/client yet, so no libreprise")
  return()
endif()

get_property(ROOMS GLOBAL PROPERTY REPRISE_ROOMS)
list(REMOVE_ITEM ROOMS reprise_cli reprise_sim reprise_server)  # Tools, not library.

add_library(reprise_library SHARED)
add_library(reprise::reprise ALIAS reprise_library)
foreach(ROOM ${ROOMS})
  get_target_property(TYPE ${ROOM} TYPE)
  if(TYPE STREQUAL "STATIC_LIBRARY")
    # The objects, all of them: a room that no other room calls (a policy, a store) is still part of the contract.
    target_sources(reprise_library PRIVATE $<TARGET_OBJECTS:${ROOM}>)
  endif()
  target_link_libraries(reprise_library PRIVATE ${ROOM})  # For the libraries the room itself needs.
endforeach()
set_target_properties(reprise_library PROPERTIES
  OUTPUT_NAME reprise
  EXPORT_NAME reprise
  LINKER_LANGUAGE CXX
  VERSION ${PROJECT_VERSION}
  SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}  # Before 1.0, every minor version may break.
  LINK_DEPENDS ${PROJECT_SOURCE_DIR}/cmake/exports.map)
target_link_options(reprise_library PRIVATE -Wl,--version-script=${PROJECT_SOURCE_DIR}/cmake/exports.map)
target_include_directories(reprise_library INTERFACE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
                           $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_compile_features(reprise_library INTERFACE cxx_std_23)

install(TARGETS reprise_library EXPORT reprise-targets COMPONENT library
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT library)
install(DIRECTORY include/reprise DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT library FILES_MATCHING PATTERN "*.h")
set(PACKAGE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/reprise)
install(EXPORT reprise-targets NAMESPACE reprise:: DESTINATION ${PACKAGE_DIR} COMPONENT library)
# Nothing to find first: the library's own dependencies stay inside it.
file(WRITE ${PROJECT_BINARY_DIR}/reprise-config.cmake "include(\${CMAKE_CURRENT_LIST_DIR}/reprise-targets.cmake)\n")
write_basic_package_version_file(reprise-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/reprise-config.cmake ${PROJECT_BINARY_DIR}/reprise-config-version.cmake
  DESTINATION ${PACKAGE_DIR} COMPONENT library)
