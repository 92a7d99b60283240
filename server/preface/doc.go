// Package preface tells from a connection's first bytes whether it belongs to a gRPC
// client, so that such connections can be given to a gRPC server and all others to an
// HTTP server, on one port.
//
// A gRPC client is one whose first call on an HTTP/2 connection (RFC 9113) has the
// content type application/grpc and has not passed through a proxy: those may put
// calls of several protocols on one connection. Who sends no call soon is none
// either. The HTTP server has to understand gRPC too; being taken for another client
// costs a gRPC client speed and nothing else.
//
// [Split] terminates TLS, since what it looks for is inside. A connection waits for
// nobody but itself: each is looked at in a goroutine of its own, and bounded in time
// and bytes.
package preface
