#!/usr/bin/env perl
# Merge conflicts that were committed, and what merges leave behind.

use strict;
use warnings;
use lib __FILE__ =~ m{\A(.*)/}s ? $1 : '.';
use Checkout;
use Report;

my $checkout = Checkout->from_env;
my $report = Report->begin('conflicts');

# Only a proper trio counts, each marker seven long at the start of a line and in order: a row of equals signs alone
# is an underlined heading.
$checkout->each_text(sub {
    my ($entry, $content) = @_;
    return if index($$content, '<' x 7) < 0;
    my ($line, $opened, $divided) = (0, 0, 0);
    while ($$content =~ /^([^\n]*)\n?/gm) {
        $line++;
        my $text = $1;
        if    ($text =~ /\A<{7}(?:[ \r]|\z)/) { ($opened, $divided) = ($line, 0) }
        elsif ($opened && $text =~ /\A={7}\r?\z/) { $divided = 1 }
        elsif ($opened && $divided && $text =~ /\A>{7}(?:[ \r]|\z)/) {
            $report->finding(
                rule => 'EPR-C001', path => $entry->{path}, line => $opened, evidence => "conflict of $opened",
                message => "An unresolved merge conflict, from here to line $line.",
            );
            ($opened, $divided) = (0, 0);
        }
        last if pos($$content) >= length $$content;
    }
});

for my $entry ($checkout->entries) {
    next if $entry->{path} !~ /\.(?:orig|rej)\z/;
    $report->finding(
        rule => 'EPR-C002', path => $entry->{path}, evidence => 'leftover',
        message => 'A file that a merge or a patch left behind.',
    );
}
$report->finish($checkout);
