// The modules have the paths of Vault's, since the tracer knows their code by the names of functions. Nothing is fetched,
// and nothing of Vault's or HashiCorp's own source is in here.
module github.com/hashicorp/vault

go 1.21

require (
	github.com/hashicorp/eventlogger v0.0.0
	github.com/hashicorp/go-secure-stdlib/permitpool v0.0.0
)

replace (
	github.com/hashicorp/eventlogger => ./eventlogger
	github.com/hashicorp/go-secure-stdlib/permitpool => ./permitpool
)
