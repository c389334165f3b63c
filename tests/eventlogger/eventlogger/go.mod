module github.com/hashicorp/eventlogger

go 1.21
