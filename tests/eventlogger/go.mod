// The module's paths are Vault's, since the tracer knows its code by the names of functions. Nothing
// is fetched, and nothing of Vault's or eventlogger's own source is in here.
module github.com/hashicorp/vault

go 1.21

require github.com/hashicorp/eventlogger v0.0.0

replace github.com/hashicorp/eventlogger => ./eventlogger
