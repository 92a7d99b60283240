// Package audit signs the heads of streams and holds histories against what was signed.
//
// The digest chain says whether a history fits together, but whoever can replace all of it
// can make another chain that fits as well. A signed head is a statement that cannot be
// made later without the key: at this revision the stream had this digest, and with it all
// changes up to there. An auditor needs the public keys, the signed heads and the history,
// on a member, behind a service or in a file, and nothing else.
//
// Signatures are Ed25519 (RFC 8032) over the bytes that the contract describes at
// SignedHead, see [SignedBytes]. Keys are PEM: PKCS #8 for private ones, PKIX for public
// ones, as openssl writes them:
//
//	openssl genpkey -algorithm ed25519 -out audit.key
//	openssl pkey -in audit.key -pubout -out audit.pub
//
// Functions are pure and may be called at the same time; a [Schedule] belongs to one
// goroutine. Time and randomness are handed in.
package audit
