// make_certificates FOLDER: an authority (authority.pem), and a certificate for 127.0.0.1 and localhost that it signed
// (server.pem, server.key).
#include "testing/certificates.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const reprise::testing::Authority authority(argv[1], "authority");
  (void)authority.issue("server", "DNS:localhost,IP:127.0.0.1");
  return 0;
}
