// Command run runs the chaos test against a freshly built binary; see `make chaos`.
package main

func main() {}
