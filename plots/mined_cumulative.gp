# Redraw with `gnuplot mined_cumulative.gp` in the folder that holds this, both styles and the data.
load 'mined_style.gp'
data = 'mined_cumulative.tsv'
stats data using (note('cumulative')) nooutput
do for [t in 'svg png'] {
    eval open(t, 'mined_cumulative')
    eval panel(1, 1)
    set xrange [0 : 1]
    set yrange [0 : 1.02]
    set xlabel 'share of positions, oldest first'
    set ylabel 'attention that they get, mean over queries'
    plot x with lines lw 1.2 dt (3, 4) lc rgb '#999999', \
        for [i = 1:4] data using (head_x('cumulative', i)):'mean' with lines lw 1 lc rgb head_pale(i), \
        data using (mean_x('cumulative')):'mean':'lo':'hi' with yerrorlines lw 1.8 pt 7 ps 0.4 lc rgb style_mean
    unset label 99
    eval legend(heads_legend.", NaN with lines lw 1.2 dt (3, 4) lc rgb '#999999' title 'uniform', ".mean_legend)
    eval close
}
